//! The access logs: rendered by the workers, written by one thread a file.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tokio::sync::mpsc::{Permit, Sender, error::TrySendError};

use super::{
    entry::Entry,
    format::{LineFormat, Stamp},
    sink::{Message, OpenError, Sink, count_lines},
};
use crate::config::{self, WhenFull};

/// Bytes from which a worker's buffer is handed over without waiting for its next flush: large
/// enough that the writer's wake-up and system call cost little per line.
const CHUNK: usize = 128 * 1024;

/// Bytes that a worker keeps for one log whose queue is full. Beyond it, sessions wait or lines are
/// dropped.
pub(super) const WORKER_BOUND: usize = 256 * 1024;

/// All configured access logs; kept by the control thread.
pub struct AccessLogs {
    sinks: Vec<Sink>,
    dropped: IntCounter,
}

impl AccessLogs {
    /// Opens every file (append, created with mode 0640) and starts its writer thread.
    ///
    /// `dropped` counts the lines that are lost.
    pub fn open(logs: &[config::AccessLog], dropped: IntCounter) -> Result<Self, OpenError> {
        let sinks =
            logs.iter().map(|log| Sink::open(log, dropped.clone())).collect::<Result<_, _>>()?;
        Ok(Self { sinks, dropped })
    }

    /// A writer for one worker, to be made before and moved into its thread.
    pub fn writer(&self) -> LogWriter {
        let buffers = self
            .sinks
            .iter()
            .map(|sink| SinkBuffer {
                format: sink.format.clone(),
                when_full: sink.when_full,
                queue: sink.queue.clone(),
                buffer: RefCell::default(),
                dropped: self.dropped.clone(),
            })
            .collect();
        LogWriter { buffers, stamp: RefCell::default() }
    }

    /// Makes every writer open its path anew: after log rotation has renamed the file.
    pub fn reopen(&self) {
        for sink in &self.sinks {
            sink.reopen();
        }
    }

    /// Writes what is queued and ends the writer threads, within `patience`.
    ///
    /// Every [`LogWriter`] is to be closed first: this waits for those that are not.
    /// What cannot be written by then is counted as dropped and said in the program's log.
    pub fn close(self, patience: Duration) {
        let give_up_at = Instant::now() + patience;
        // All are told before any is waited for, so that they share one deadline.
        let closing: Vec<_> =
            self.sinks.into_iter().map(|sink| sink.start_close(give_up_at)).collect();
        for sink in closing {
            sink.wait(give_up_at);
        }
    }
}

/// One worker's end of the access logs.
///
/// Lines are rendered into buffers of this thread; handing one over costs the writer one wake-up a
/// chunk, never one a line.
pub struct LogWriter {
    buffers: Vec<SinkBuffer>,
    stamp: RefCell<Stamp>,
}

impl LogWriter {
    /// Whether anything is logged at all: if not, no entry need be made.
    pub fn is_enabled(&self) -> bool {
        !self.buffers.is_empty()
    }

    /// Whether [`Self::room`] would return at once.
    pub fn has_room(&self) -> bool {
        !self.buffers.iter().any(SinkBuffer::must_wait)
    }

    /// Waits until every log that may not lose lines has room for one.
    ///
    /// The room is there until the caller's next `await`, so [`Self::write`] must follow at once.
    pub async fn room(&self) {
        // Waiting for one log gives others time to fill up: look again from the start.
        while let Some(full) = self.buffers.iter().find(|buffer| buffer.must_wait()) {
            // Boxed, as waiting is rare and every session's memory would have the room for it.
            match Box::pin(full.queue.reserve()).await {
                Ok(permit) => full.send(permit),
                Err(_) => {
                    full.lose();
                }
            }
        }
    }

    /// Writes one line to every log.
    pub fn write(&self, entry: &Entry<'_>) {
        if self.buffers.is_empty() {
            return;
        }
        let mut stamp = self.stamp.borrow_mut();
        stamp.set(entry.time);
        for buffer in &self.buffers {
            buffer.write(entry, &stamp);
        }
    }

    /// Whether lines wait here for a [`Self::flush`].
    pub fn is_dirty(&self) -> bool {
        self.buffers.iter().any(SinkBuffer::is_dirty)
    }

    /// Hands over what waits here, as far as the queues have room; never blocks.
    pub fn flush(&self) {
        for buffer in &self.buffers {
            buffer.hand_over();
        }
    }

    /// Hands over everything, blocking the thread for at most `patience`; for a worker's exit.
    ///
    /// Returns the number of lines that had to be given up (and counted as dropped).
    pub fn hand_over(&self, patience: Duration) -> usize {
        let give_up_at = Instant::now() + patience;
        loop {
            self.flush();
            if !self.is_dirty() {
                return 0;
            }
            if Instant::now() >= give_up_at {
                return self.buffers.iter().map(SinkBuffer::lose).sum();
            }
            std::thread::sleep(CLOSE_POLL);
        }
    }

    /// [`Self::hand_over`], for the last time.
    pub fn close(self, patience: Duration) -> usize {
        self.hand_over(patience)
    }
}

impl Drop for LogWriter {
    /// A worker that ends without [`LogWriter::close`] still hands over what there is room for.
    fn drop(&mut self) {
        self.flush();
        for buffer in &self.buffers {
            buffer.lose();
        }
    }
}

/// How often a closing worker looks for room.
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// What one worker has rendered for one log and not handed over yet.
struct SinkBuffer {
    format: LineFormat,
    when_full: WhenFull,
    queue: Sender<Message>,
    buffer: RefCell<Vec<u8>>,
    dropped: IntCounter,
}

impl SinkBuffer {
    fn write(&self, entry: &Entry<'_>, stamp: &Stamp) {
        if self.when_full == WhenFull::Drop && self.is_full() {
            self.hand_over();
            if self.is_full() {
                self.dropped.inc();
                return;
            }
        }
        let mut buffer = self.buffer.borrow_mut();
        if buffer.capacity() == 0 {
            // A line more than a chunk, so that a full one has not grown on the way.
            buffer.reserve(CHUNK + 1024);
        }
        self.format.render(entry, stamp, &mut buffer);
        let is_chunk = buffer.len() >= CHUNK;
        drop(buffer);
        if is_chunk {
            self.hand_over();
        }
    }

    fn must_wait(&self) -> bool {
        self.when_full == WhenFull::Block && self.is_full()
    }

    fn is_full(&self) -> bool {
        self.buffer.borrow().len() >= WORKER_BOUND
    }

    fn is_dirty(&self) -> bool {
        !self.buffer.borrow().is_empty()
    }

    /// Hands the buffer over if there is something in it and room for it.
    fn hand_over(&self) {
        if !self.is_dirty() {
            return;
        }
        match self.queue.try_reserve() {
            Ok(permit) => self.send(permit),
            Err(TrySendError::Full(())) => {}
            Err(TrySendError::Closed(())) => {
                self.lose();
            }
        }
    }

    /// A permit that finds nothing to send (another session was first) goes back to the queue.
    fn send(&self, permit: Permit<'_, Message>) {
        let chunk = self.buffer.take();
        if !chunk.is_empty() {
            permit.send(Message::Chunk(chunk));
        }
    }

    /// Gives up what is here, because nobody can write it any more; returns the lines lost.
    fn lose(&self) -> usize {
        let lines = count_lines(&self.buffer.take());
        self.dropped.inc_by(lines as u64);
        lines
    }
}
