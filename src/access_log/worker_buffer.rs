//! One worker's lines for one log, on their way to its writer.

use std::{cell::RefCell, sync::Arc};

use prometheus::IntCounter;
use tokio::sync::mpsc::{Permit, Sender, error::TrySendError};

use super::{blocked::Full, sink::Message, syslog_header::SyslogHeader};
use crate::{
    config::{LogEvents, WhenFull},
    labels::Event,
    timestamp::Timestamp,
};

/// Bytes from which a worker's buffer is handed over without waiting for its next flush: large
/// enough that the writer's wake-up and system call cost little per line.
const CHUNK: usize = 128 * 1024;

/// Bytes that a worker keeps for one log whose queue is full. Beyond it, sessions wait or lines are
/// dropped.
pub(super) const WORKER_BOUND: usize = 256 * 1024;

/// What one worker has rendered for one log and not handed over yet.
pub(super) struct SinkBuffer {
    /// Of a syslog receiver.
    header: Option<SyslogHeader>,
    events: LogEvents,
    when_full: WhenFull,
    pub(super) queue: Sender<Message>,
    buffer: RefCell<Vec<u8>>,
    /// Told to those outside, where clients wait while it is full.
    full: Arc<Full>,
    dropped: IntCounter,
}

impl SinkBuffer {
    pub(super) fn new(
        header: Option<SyslogHeader>,
        events: LogEvents,
        when_full: WhenFull,
        queue: Sender<Message>,
        full: Arc<Full>,
        dropped: IntCounter,
    ) -> Self {
        Self { header, events, when_full, queue, buffer: RefCell::default(), full, dropped }
    }

    /// Whether this log has lines of an event at all.
    pub(super) fn wants(&self, event: Event) -> bool {
        match event {
            Event::Connect => self.events.connect,
            Event::Disconnect => self.events.disconnect,
            Event::Reject => self.events.reject,
            Event::Probe => self.events.probe,
        }
    }

    /// Whether there is room for one more line; if not, the line is counted as dropped.
    pub(super) fn takes_one(&self) -> bool {
        if self.when_full == WhenFull::Drop && self.is_full() {
            self.hand_over();
            if self.is_full() {
                self.dropped.inc();
                return false;
            }
        }
        true
    }

    /// Adds a rendered line.
    pub(super) fn write(&self, line: &[u8], event: Event, stamp: &Timestamp) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.capacity() == 0 {
            // A line more than a chunk, so that a full one has not grown on the way.
            buffer.reserve(CHUNK + 1024);
        }
        if let Some(header) = &self.header {
            header.write(event, stamp, &mut buffer);
        }
        buffer.extend_from_slice(line);
        let is_chunk = buffer.len() >= CHUNK;
        drop(buffer);
        if is_chunk {
            self.hand_over();
        }
    }

    /// Goes on with what waits in another's buffer, before anything has been written to this one.
    pub(super) fn take_over(&self, other: &Self) {
        self.buffer.swap(&other.buffer);
        if self.must_wait() {
            self.full.take_over(&other.full);
            self.full.begin();
        }
    }

    pub(super) fn must_wait(&self) -> bool {
        self.when_full == WhenFull::Block && self.is_full()
    }

    fn is_full(&self) -> bool {
        self.buffer.borrow().len() >= WORKER_BOUND
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.buffer.borrow().is_empty()
    }

    /// Hands the buffer over if there is something in it and room for it.
    pub(super) fn hand_over(&self) {
        if !self.is_dirty() {
            return;
        }
        match self.queue.try_reserve() {
            Ok(permit) => self.send(permit),
            Err(TrySendError::Full(())) if self.must_wait() => self.full.begin(),
            Err(TrySendError::Full(())) => {}
            Err(TrySendError::Closed(())) => {
                self.lose();
            }
        }
    }

    /// A permit that finds nothing to send (another session was first) goes back to the queue.
    pub(super) fn send(&self, permit: Permit<'_, Message>) {
        let chunk = self.buffer.take();
        self.full.end();
        if !chunk.is_empty() {
            permit.send(Message::Chunk(chunk));
        }
    }

    /// Gives up what is here, because nobody can write it any more; returns the lines lost.
    pub(super) fn lose(&self) -> usize {
        self.full.end();
        let lines = count_lines(&self.buffer.take());
        self.dropped.inc_by(lines as u64);
        lines
    }
}

/// Number of lines in a chunk: no line has a line break inside, whatever a client sends.
#[expect(clippy::naive_bytecount, reason = "only what is lost is counted")]
pub(super) fn count_lines(chunk: &[u8]) -> usize {
    chunk.iter().filter(|&&byte| byte == b'\n').count()
}
