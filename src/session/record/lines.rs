//! The lines that a record writes, and its end.

use tokio::task::spawn_local;

use super::Record;
use crate::{
    access_log::BanFields,
    labels::{EndBy, EndCause, EndPhase, Event},
    session::end::End,
};

/// The detail in the record of a connection whose task panicked.
const PANIC_DETAIL: &str = "internal error: the task of this connection panicked";

impl Record {
    /// Writes the log entry of an established session.
    pub(crate) fn log_connect(&self) {
        if self.recorder.log.wants(Event::Connect) {
            self.recorder.log.write(&self.entry(Event::Connect));
        }
    }

    /// Records the end of this connection; if the log is full, waits for room in a task of its own.
    pub(crate) fn end(mut self, event: Event, bytes: (u64, u64), end: End) {
        if self.recorder.log.has_room() {
            self.record_end(event, bytes, &end, true);
            return;
        }
        spawn_local(async move {
            self.recorder.log.wait_for_room().await;
            self.record_end(event, bytes, &end, true);
        });
    }

    /// Counts the end of a rejected connection without a line in the log.
    pub(crate) fn end_unlogged(mut self, end: &End) {
        self.record_end(Event::Reject, (0, 0), end, false);
    }

    /// Writes the log entry of a ban that this connection has caused.
    pub(crate) fn log_ban(&self, ban: BanFields<'_>, detail: &str) {
        if self.recorder.log.wants(Event::Ban) {
            let mut entry = self.entry(Event::Ban);
            (entry.ban, entry.detail) = (Some(ban), Some(detail));
            self.recorder.log.write(&entry);
        }
    }

    /// Records a panic as the end, without waiting for the log.
    pub(crate) fn end_in_panic(&mut self, event: Event, bytes: (u64, u64), phase: EndPhase) {
        let end = End::new(EndBy::Proxy, phase, EndCause::Error).with(PANIC_DETAIL);
        self.record_end(event, bytes, &end, true);
    }

    /// Counts the end of this connection, once, and logs it if `is_logged`.
    fn record_end(&mut self, event: Event, bytes: (u64, u64), end: &End, is_logged: bool) {
        // Set first, so that a panic below is not recorded again.
        self.ended = true;
        let recorder = &self.recorder;
        recorder.metrics.count_end(end.by, end.phase, end.cause);
        match event {
            Event::Reject => recorder.metrics.count_reject(end.cause.as_str()),
            Event::Probe => self.listener.metrics.probes_total.inc(),
            Event::Connect | Event::Disconnect | Event::Ban => {}
        }
        if is_logged && recorder.log.wants(event) {
            let mut entry = self.entry(event);
            entry.duration_ms = Some(self.accepted.elapsed());
            (entry.bytes_in, entry.bytes_out) = (Some(bytes.0), Some(bytes.1));
            entry.end_by = Some(end.by);
            entry.end_phase = Some(end.phase);
            entry.end_cause = Some(end.cause);
            entry.detail = end.detail.as_deref();
            recorder.log.write(&entry);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended && std::thread::panicking() {
            let bytes = self.handshake_bytes();
            self.end_in_panic(Event::Reject, bytes, self.phase());
        }
        self.recorder.finish();
        self.listener.metrics.connections_active.dec();
    }
}
