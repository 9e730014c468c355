//! The thread that writes one log: it takes whole lines from a queue, and writes, waits or drops.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, atomic::Ordering, mpsc::SyncSender},
    thread,
    time::Duration,
};

use prometheus::IntCounter;
use tokio::sync::mpsc::Receiver;

use super::{
    output::Output,
    sink::{Control, Message},
    worker_buffer::count_lines,
};

/// The first and the longest pause before a failed write is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long a syslog receiver may take to be connected to, or to take anything at all, before that
/// is a failure. Less than what closing takes at most, so that its deadline is kept.
const PATIENCE: Duration = Duration::from_secs(1);

/// `SO_SNDTIMEO` of 0 would mean: for ever.
pub(super) const LEAST_PATIENCE: Duration = Duration::from_millis(1);

pub(super) struct Writer {
    /// Where it goes, for the program's log.
    name: String,
    output: Output,
    /// Lines taken from the queue. Between chunks it is empty, or holds the one line of which a
    /// failing output took only the beginning.
    pending: Vec<u8>,
    /// Where in `pending` the first line begins that is not out as a whole.
    next: usize,
    /// How much of that line is out, as the output counts.
    begun: usize,
    is_failing: bool,
    dropped: IntCounter,
    control: Arc<Control>,
}

impl Writer {
    pub(super) fn new(
        name: String,
        output: Output,
        dropped: IntCounter,
        control: Arc<Control>,
    ) -> Self {
        let (pending, next, begun, is_failing) = (Vec::new(), 0, 0, false);
        Self { name, output, pending, next, begun, is_failing, dropped, control }
    }

    /// Until every end of the queue has been dropped. `_done` is dropped with the thread.
    pub(super) fn run(mut self, mut chunks: Receiver<Message>, _done: SyncSender<()>) {
        if let Err(error) = self.output.connect(self.patience()) {
            self.is_failing = true;
            tracing::warn!(
                log = %self.name, %error,
                "access log cannot be connected to; that is tried again with its next line"
            );
        }
        while let Some(message) = chunks.blocking_recv() {
            self.reopen_if_asked();
            if let Message::Chunk(chunk) = message {
                self.store(chunk);
            }
        }
    }

    fn store(&mut self, chunk: Vec<u8>) {
        if self.pending.is_empty() {
            self.pending = chunk;
        } else {
            self.pending.extend_from_slice(&chunk);
        }
        let mut pause = BACK_OFF.0;
        while let Err(error) = self.drain() {
            self.report_failure(&error);
            // A receiver that is only slow is waited for: the workers drop what the queue has no room
            // for.
            let drops = self.control.drops() && !self.output.is_slow(&error);
            if drops || self.must_give_up() {
                return self.shed();
            }
            thread::sleep(self.control.patience(pause));
            pause = (pause * 2).min(BACK_OFF.1);
            self.reopen_if_asked();
        }
        if self.is_failing {
            self.is_failing = false;
            tracing::info!(log = %self.name, "access log can be written again");
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        let rotate = self.control.rotate();
        while let Some(lines) = self.pending.get(self.next..).filter(|lines| !lines.is_empty()) {
            let patience = self.patience();
            match self.output.write(lines, &mut self.begun, rotate, patience) {
                Ok(whole) => self.next += whole,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.next = 0;
        Ok(())
    }

    /// Drops the lines that have not been begun; the one that has stays, to be ended first.
    fn shed(&mut self) {
        let pending = self.pending.split_off(self.next);
        let kept = if self.begun == 0 {
            0
        } else {
            pending.iter().position(|&byte| byte == b'\n').map_or(pending.len(), |end| end + 1)
        };
        let (kept, lost) = pending.split_at(kept);
        self.dropped.inc_by(count_lines(lost) as u64);
        self.pending = kept.to_vec();
        self.next = 0;
    }

    fn reopen_if_asked(&mut self) {
        if !self.control.reopen.swap(false, Ordering::AcqRel) {
            return;
        }
        let Output::File(file) = &mut self.output else { return };
        match file.reopen() {
            // A line that the old file has only half of is written whole to the new one.
            Ok(()) => self.begun = 0,
            Err(error) => tracing::error!(
                log = %self.name, %error,
                "access log cannot be reopened; the old file stays in use"
            ),
        }
    }

    fn patience(&self) -> Duration {
        self.control.patience(PATIENCE).max(LEAST_PATIENCE)
    }

    fn must_give_up(&self) -> bool {
        self.control.patience(PATIENCE).is_zero()
    }

    /// Once per failure, not once per line.
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
