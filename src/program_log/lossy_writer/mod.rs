//! A writer that never blocks its callers: a separate thread writes the lines, and lines beyond a
//! limit are dropped and counted.
//!
//! The limit is in bytes, so it bounds the memory whatever the lines are. tracing-appender's
//! nonblocking writer has a limit in lines (128,000 of any length) and does not report where in the
//! log some are missing.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// The most bytes of queued lines. As many again can be in the middle of a write, so a log takes at
/// most 1 MiB.
const MAX_QUEUED_BYTES: usize = 512 * 1024;

/// The most bytes in one write of several lines: pipes write this many atomically (`pipe(7)`,
/// PIPE_BUF), so that another process' output does not split a line.
const MAX_WRITE_BYTES: usize = 4096;

/// The callers' end. Clones share the queue.
#[derive(Clone)]
pub(crate) struct LossyWriter(Arc<LineQueue>);

struct LineQueue {
    queue: Mutex<QueuedLines>,
    filled: Condvar,
    drained: Condvar,
    dropped: IntCounter,
    bound: usize,
}

#[derive(Default)]
struct QueuedLines {
    lines: Vec<u8>,
    /// Lines dropped since `lines` became full. Until the thread has taken this number, all new
    /// lines are dropped too, so that the missing lines are in one place, after `lines`.
    lost: u64,
    is_writing: bool,
}

impl LossyWriter {
    /// Starts the thread, which lives as long as the process. `dropped` counts the lost lines. Once
    /// output works again, the thread calls `report` with their number, at the place in the log
    /// where they are missing.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        dropped: IntCounter,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        Self::bounded(MAX_QUEUED_BYTES, output, dropped, report)
    }

    fn bounded(
        bound: usize,
        output: impl Write + Send + 'static,
        dropped: IntCounter,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, filled, drained) = Default::default();
        let shared = Arc::new(LineQueue { queue, filled, drained, dropped, bound });
        let of_thread = shared.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || of_thread.write_all(output, report))?;
        Ok(Self(shared))
    }

    /// Queues one whole line, or drops it.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.0.queue();
        if queue.lost > 0 || queue.lines.len() + line.len() > self.0.bound {
            queue.lost += 1;
            self.0.dropped.inc();
        } else {
            queue.lines.extend_from_slice(line);
        }
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Waits until every queued line is written, for at most `timeout`. Returns whether it is.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let is_busy = |queue: &mut QueuedLines| queue.is_writing || !queue.is_empty();
        let waited = self.0.drained.wait_timeout_while(self.0.queue(), timeout, is_busy);
        let (_queue, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
        !outcome.timed_out()
    }
}

impl QueuedLines {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.lost == 0
    }
}

impl LineQueue {
    fn write_all(&self, mut output: impl Write, report: impl Fn(u64)) {
        let mut unreported = 0;
        loop {
            let (lines, lost) = self.take();
            let unwritten = write_lines(&mut output, &lines);
            self.dropped.inc_by(unwritten);
            unreported += unwritten + lost;
            if unreported > 0 && unwritten == 0 {
                report(unreported);
                unreported = 0;
            }
        }
    }

    fn take(&self) -> (Vec<u8>, u64) {
        let mut queue = self.queue();
        queue.is_writing = false;
        if queue.is_empty() {
            self.drained.notify_all();
        }
        let waited = self.filled.wait_while(queue, |queue| queue.is_empty());
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        queue.is_writing = true;
        (std::mem::take(&mut queue.lines), std::mem::take(&mut queue.lost))
    }

    /// Locked only while lines are copied, never during a write.
    fn queue(&self) -> MutexGuard<'_, QueuedLines> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the number of lines that could not be written completely.
fn write_lines(output: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        let (batch, rest) = lines.split_at(write_end(lines));
        if output.write_all(batch).is_err() {
            return lines.split_inclusive(|&byte| byte == b'\n').count() as u64;
        }
        lines = rest;
    }
    0
}

/// The end of the last line that fits into one write, or of the first line if none fits.
fn write_end(lines: &[u8]) -> usize {
    let is_end = |&byte: &u8| byte == b'\n';
    let last_in_batch = lines.iter().take(MAX_WRITE_BYTES).rposition(is_end);
    last_in_batch.or_else(|| lines.iter().position(is_end)).map_or(lines.len(), |at| at + 1)
}

impl<'a> MakeWriter<'a> for LossyWriter {
    type Writer = LossyLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LossyLine(self)
    }
}

/// The writer of one event, which tracing-subscriber writes in one call.
pub(crate) struct LossyLine<'a>(&'a LossyWriter);

impl Write for LossyLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
