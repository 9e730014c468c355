//! A worker's end of the access logs: it renders the lines, and hands them over in chunks.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tokio::sync::{
    Notify,
    mpsc::{Permit, Sender, error::TrySendError},
};

use super::{
    access_log::LEAVING_PATIENCE,
    entry::Entry,
    format::{LineFormat, Stamp},
    sink::{Message, count_lines},
};
use crate::config::WhenFull;

/// Bytes from which a worker's buffer is handed over without waiting for its next flush: large
/// enough that the writer's wake-up and system call cost little per line.
const CHUNK: usize = 128 * 1024;

/// Bytes that a worker keeps for one log whose queue is full. Beyond it, sessions wait or lines are
/// dropped.
pub(super) const WORKER_BOUND: usize = 256 * 1024;

/// One worker's end of the access logs.
///
/// Lines are rendered into buffers of this thread; handing one over costs the writer one wake-up a
/// chunk, never one a line.
pub struct LogWriter {
    buffers: RefCell<Vec<SinkBuffer>>,
    /// Of logs that are configured no longer: what is to be handed over yet, and until when.
    leaving: RefCell<Vec<(SinkBuffer, Instant)>>,
    /// Tells those who wait for room that it may be another log's now.
    replaced: Notify,
    stamp: RefCell<Stamp>,
}

impl LogWriter {
    pub(super) fn new(buffers: Vec<SinkBuffer>) -> Self {
        Self {
            buffers: RefCell::new(buffers),
            leaving: RefCell::default(),
            replaced: Notify::new(),
            stamp: RefCell::default(),
        }
    }

    /// Whether anything is logged at all: if not, no entry need be made.
    pub fn is_enabled(&self) -> bool {
        !self.buffers.borrow().is_empty()
    }

    /// Whether [`Self::room`] would return at once.
    pub fn has_room(&self) -> bool {
        !self.buffers.borrow().iter().any(SinkBuffer::must_wait)
    }

    /// Waits until every log that may not lose lines has room for one.
    ///
    /// The room is there until the caller's next `await`, so [`Self::write`] must follow at once.
    pub async fn room(&self) {
        // Waiting for one log gives others time to fill up: look again from the start.
        while let Some(queue) = self.full_queue() {
            // Boxed, as waiting is rare and every session's memory would have the room for it.
            Box::pin(self.room_in(queue)).await;
        }
    }

    /// Writes one line to every log.
    pub fn write(&self, entry: &Entry<'_>) {
        let buffers = self.buffers.borrow();
        if buffers.is_empty() {
            return;
        }
        let mut stamp = self.stamp.borrow_mut();
        stamp.set(entry.time);
        for buffer in &*buffers {
            buffer.write(entry, &stamp);
        }
    }

    /// Goes on with another configuration's logs, those of `new`. Lines that wait here stay with
    /// their log, whether it is still there or leaving.
    #[expect(clippy::needless_pass_by_value, reason = "what is left of it is of no use")]
    pub fn replace(&self, new: Self) {
        let old = self.buffers.replace(new.buffers.take());
        let until = Instant::now() + LEAVING_PATIENCE;
        for old in old {
            match self.buffers.borrow().iter().find(|new| new.queue.same_channel(&old.queue)) {
                // Nothing has been written to a new one yet.
                Some(new) => drop(new.buffer.replace(old.buffer.take())),
                None if old.is_dirty() => self.leaving.borrow_mut().push((old, until)),
                None => {}
            }
        }
        self.replaced.notify_waiters();
    }

    /// Whether lines wait here for a [`Self::flush`].
    pub fn is_dirty(&self) -> bool {
        self.buffers.borrow().iter().any(SinkBuffer::is_dirty) || !self.leaving.borrow().is_empty()
    }

    /// Hands over what waits here, as far as the queues have room; never blocks.
    pub fn flush(&self) {
        self.buffers.borrow().iter().for_each(SinkBuffer::hand_over);
        self.leaving.borrow_mut().retain(|(buffer, until)| {
            buffer.hand_over();
            if Instant::now() >= *until {
                buffer.lose();
            }
            buffer.is_dirty()
        });
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
                return self.lose();
            }
            std::thread::sleep(CLOSE_POLL);
        }
    }

    /// [`Self::hand_over`], for the last time.
    pub fn close(self, patience: Duration) -> usize {
        self.hand_over(patience)
    }

    /// The queue of a log that has to be waited for.
    fn full_queue(&self) -> Option<Sender<Message>> {
        let buffers = self.buffers.borrow();
        buffers.iter().find(|buffer| buffer.must_wait()).map(|buffer| buffer.queue.clone())
    }

    /// Waits until a queue has room, or is nobody's concern any more.
    async fn room_in(&self, queue: Sender<Message>) {
        let permit = tokio::select! {
            permit = queue.reserve() => permit,
            () = self.replaced.notified() => return,
        };
        let buffers = self.buffers.borrow();
        let Some(full) = buffers.iter().find(|buffer| buffer.queue.same_channel(&queue)) else {
            return;
        };
        match permit {
            Ok(permit) => full.send(permit),
            Err(_) => {
                full.lose();
            }
        }
    }

    fn lose(&self) -> usize {
        let leaving = self.leaving.take();
        let buffers = self.buffers.borrow();
        buffers.iter().chain(leaving.iter().map(|(buffer, _)| buffer)).map(SinkBuffer::lose).sum()
    }
}

impl Drop for LogWriter {
    /// A worker that ends without [`LogWriter::close`] still hands over what there is room for.
    fn drop(&mut self) {
        self.flush();
        self.lose();
    }
}

/// How often a closing worker looks for room.
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// What one worker has rendered for one log and not handed over yet.
pub(super) struct SinkBuffer {
    format: LineFormat,
    when_full: WhenFull,
    queue: Sender<Message>,
    buffer: RefCell<Vec<u8>>,
    dropped: IntCounter,
}

impl SinkBuffer {
    pub(super) fn new(
        format: LineFormat,
        when_full: WhenFull,
        queue: Sender<Message>,
        dropped: IntCounter,
    ) -> Self {
        Self { format, when_full, queue, buffer: RefCell::default(), dropped }
    }

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
