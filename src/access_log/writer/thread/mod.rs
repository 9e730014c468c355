//! The thread that writes one log: it takes whole lines from a queue, and writes, waits or drops.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, mpsc::SyncSender},
    thread,
    time::Duration,
};

use prometheus::IntCounter;
use tokio::sync::mpsc::Receiver;

use super::control::WriterControl;
use crate::access_log::{
    lines::{count_lines, first_line_len},
    output::LogOutput,
    queue::WriterMessage,
};

/// The first and the longest pause before a failed write is tried again.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long connecting to a syslog receiver, or one write to it, may take before it counts as a
/// failure. Shorter than the time for closing the logs, so that their deadline is met.
const SYSLOG_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct WriterThread {
    /// The target, for the program's log.
    name: String,
    output: LogOutput,
    /// Lines taken from the queue. Between chunks it is empty, or holds one line that a failing
    /// output took only in part.
    pending: Vec<u8>,
    /// The offset in `pending` of the first line that is not completely written.
    next: usize,
    /// How much of that line has been written, in the output's own unit.
    partial: usize,
    is_failing: bool,
    dropped: IntCounter,
    control: Arc<WriterControl>,
}

impl WriterThread {
    pub(super) fn new(
        name: String,
        output: LogOutput,
        dropped: IntCounter,
        control: Arc<WriterControl>,
    ) -> Self {
        let (pending, next, partial, is_failing) = (Vec::new(), 0, 0, false);
        Self { name, output, pending, next, partial, is_failing, dropped, control }
    }

    /// Runs until every sender of the queue has been dropped. `_done` is dropped with the thread.
    pub(super) fn run(mut self, mut queue: Receiver<WriterMessage>, _done: SyncSender<()>) {
        if let Err(error) = self.output.connect(self.control.cap(SYSLOG_TIMEOUT)) {
            self.is_failing = true;
            tracing::warn!(
                log = %self.name, %error,
                "access log: cannot connect to the receiver; retrying with the next line"
            );
        }
        while let Some(message) = queue.blocking_recv() {
            self.reopen_if_requested();
            if let WriterMessage::Chunk(chunk) = message {
                self.write_chunk(chunk);
            }
        }
    }

    /// Writes a chunk, waits until it can, or drops what it cannot write, as configured.
    fn write_chunk(&mut self, chunk: Vec<u8>) {
        if self.pending.is_empty() {
            self.pending = chunk;
        } else {
            self.pending.extend_from_slice(&chunk);
        }
        let mut pause = RETRY_PAUSE.0;
        while let Err(error) = self.write_pending() {
            self.report_failure(&error);
            // The writer waits for a receiver that is only slow: the workers drop lines when the
            // queue is full.
            let drops = self.control.drops() && !self.output.is_slow(&error);
            if drops || self.control.is_overdue() {
                return self.drop_pending();
            }
            thread::sleep(self.control.cap(pause));
            pause = (pause * 2).min(RETRY_PAUSE.1);
            self.reopen_if_requested();
        }
        if self.is_failing {
            self.is_failing = false;
            tracing::info!(log = %self.name, "access log can be written again");
        }
    }

    fn write_pending(&mut self) -> io::Result<()> {
        let rotate = self.control.rotate();
        while let Some(lines) = self.pending.get(self.next..).filter(|lines| !lines.is_empty()) {
            let timeout = self.control.cap(SYSLOG_TIMEOUT);
            match self.output.write(lines, &mut self.partial, rotate, timeout) {
                Ok(whole) => self.next += whole,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.next = 0;
        Ok(())
    }

    /// Drops the lines, except a partly written one, whose rest has to be written first.
    fn drop_pending(&mut self) {
        let pending = self.pending.split_off(self.next);
        let kept = if self.partial == 0 { 0 } else { first_line_len(&pending) };
        let (kept, lost) = pending.split_at(kept);
        self.dropped.inc_by(count_lines(lost) as u64);
        self.pending = kept.to_vec();
        self.next = 0;
    }

    fn reopen_if_requested(&mut self) {
        if !self.control.take_reopen() {
            return;
        }
        let LogOutput::File(file) = &mut self.output else { return };
        match file.reopen() {
            // A line that is partly in the old file is written completely to the new one.
            Ok(()) => self.partial = 0,
            Err(error) => tracing::error!(
                log = %self.name, %error,
                "access log cannot be reopened; the old file stays in use"
            ),
        }
    }

    /// Reports an outage once, not once per line.
    fn report_failure(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let then = if self.control.drops() {
                "its lines are dropped"
            } else {
                "new sessions wait until it can"
            };
            tracing::error!(log = %self.name, %error, "access log cannot be written: {then}");
        }
    }
}

#[cfg(test)]
mod tests;
