//! A writer that nobody waits for: lines go to a thread of their own, and beyond a bound they are
//! dropped and counted.
//!
//! Bounded by bytes, so that its memory is known whatever the lines are; tracing-appender's
//! non-blocking writer is bounded by lines, 128,000 of any length, and does not say where in the log
//! some are missing.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait. As many more can be under way, so that a log takes 1 MiB at most.
const BOUND: usize = 512 * 1024;

/// Bytes of one write, if they are more than one line: what pipes take whole (`pipe(7)`, PIPE_BUF), so
/// that a line is not cut in two by another process' output.
const PIECE: usize = 4096;

/// The callers' end. Cloning it shares the queue.
#[derive(Clone)]
pub struct LossyWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    drained: Condvar,
    dropped: IntCounter,
    bound: usize,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Lines dropped since `lines` became full. Until the thread knows of them all others are dropped
    /// too: what is missing is then in one place, behind `lines`.
    lost: u64,
    is_writing: bool,
}

impl LossyWriter {
    /// Starts the thread, which lives as long as the process. `dropped` counts the lines that are
    /// lost. `report` is called on the thread with their number, where they are missing, once output
    /// goes on.
    pub fn start(
        output: impl Write + Send + 'static,
        dropped: IntCounter,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        Self::bounded(BOUND, output, dropped, report)
    }

    fn bounded(
        bound: usize,
        output: impl Write + Send + 'static,
        dropped: IntCounter,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, filled, drained) = Default::default();
        let shared = Arc::new(Shared { queue, filled, drained, dropped, bound });
        let of_thread = shared.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || of_thread.write_all(output, report))?;
        Ok(Self(shared))
    }

    /// Takes one whole line, or drops it.
    pub fn push(&self, line: &[u8]) {
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

    /// Waits until all that was taken is written, for so long at most. Returns whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.is_empty();
        let waited = self.0.drained.wait_timeout_while(self.0.queue(), patience, is_busy);
        let (_queue, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
        !outcome.timed_out()
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.lost == 0
    }
}

impl Shared {
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

    /// Held for as long as copying a line takes, and never while anything is written.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the number of lines that could not be written as a whole.
fn write_lines(output: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        let (piece, rest) = lines.split_at(piece_end(lines));
        if output.write_all(piece).is_err() {
            return lines.split_inclusive(|&byte| byte == b'\n').count() as u64;
        }
        lines = rest;
    }
    0
}

/// Where the last line ends that fits in a piece; the first, where none does.
fn piece_end(lines: &[u8]) -> usize {
    let is_end = |&byte: &u8| byte == b'\n';
    let in_piece = lines.iter().take(PIECE).rposition(is_end);
    in_piece.or_else(|| lines.iter().position(is_end)).map_or(lines.len(), |at| at + 1)
}

impl<'a> MakeWriter<'a> for LossyWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

/// The end for one event, which tracing-subscriber writes at once.
pub struct Line<'a>(&'a LossyWriter);

impl Write for Line<'_> {
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
