//! One worker's lines for one log, before they enter its queue.

use std::{cell::RefCell, sync::Arc};

use prometheus::IntCounter;
use tokio::sync::mpsc::{Permit, Sender, error::TrySendError};

use super::{
    blocked::BufferState, lines::count_lines, queue::WriterMessage, syslog_header::SyslogHeader,
};
use crate::{
    config::{LogEvents, WhenFull},
    labels::Event,
    timestamp::Timestamp,
};

/// The size at which a worker's buffer is handed over without waiting for the next flush: large
/// enough that the writer's wake-up and system call cost little per line.
const CHUNK_BYTES: usize = 128 * 1024;

/// Size at which a buffer is full, which it reaches only while the queue is full too. Sessions then
/// wait or lines are dropped.
pub(super) const MAX_BUFFER_BYTES: usize = 256 * 1024;

/// Lines that one worker has rendered for one log.
pub(super) struct WorkerBuffer {
    /// For a syslog receiver.
    header: Option<SyslogHeader>,
    events: LogEvents,
    when_full: WhenFull,
    pub(super) queue: Sender<WriterMessage>,
    buffer: RefCell<Vec<u8>>,
    /// Shared with the control thread if clients wait while the buffer is full.
    state: Arc<BufferState>,
    dropped: IntCounter,
}

impl WorkerBuffer {
    pub(super) fn new(
        header: Option<SyslogHeader>,
        events: LogEvents,
        when_full: WhenFull,
        queue: Sender<WriterMessage>,
        state: Arc<BufferState>,
        dropped: IntCounter,
    ) -> Self {
        Self { header, events, when_full, queue, buffer: RefCell::default(), state, dropped }
    }

    /// Whether this log records an event.
    pub(super) fn wants(&self, event: Event) -> bool {
        match event {
            Event::Connect => self.events.connect,
            Event::Disconnect => self.events.disconnect,
            Event::Reject => self.events.reject,
            Event::Probe => self.events.probe,
            Event::Ban => self.events.ban,
        }
    }

    /// Whether one more line may be added; if not, it is counted as dropped.
    pub(super) fn admit_line(&self) -> bool {
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
            // Room for one line more than a chunk, so that the buffer never has to grow.
            buffer.reserve(CHUNK_BYTES + 1024);
        }
        if let Some(header) = &self.header {
            header.write(event, stamp, &mut buffer);
        }
        buffer.extend_from_slice(line);
        let is_chunk = buffer.len() >= CHUNK_BYTES;
        drop(buffer);
        if is_chunk {
            self.hand_over();
        }
    }

    /// Takes over the lines of the buffer that this one replaces, before anything is written to it.
    pub(super) fn take_over(&self, other: &Self) {
        self.buffer.swap(&other.buffer);
        if self.must_wait() {
            self.state.take_over(&other.state);
            self.state.set_full();
        }
    }

    /// Whether sessions must wait for room.
    pub(super) fn must_wait(&self) -> bool {
        self.when_full == WhenFull::Block && self.is_full()
    }

    fn is_full(&self) -> bool {
        self.buffer.borrow().len() >= MAX_BUFFER_BYTES
    }

    pub(super) fn has_lines(&self) -> bool {
        !self.buffer.borrow().is_empty()
    }

    /// Moves the lines to the queue if it has room.
    pub(super) fn hand_over(&self) {
        if !self.has_lines() {
            return;
        }
        match self.queue.try_reserve() {
            Ok(permit) => self.send(permit),
            Err(TrySendError::Full(())) if self.must_wait() => self.state.set_full(),
            Err(TrySendError::Full(())) => {}
            Err(TrySendError::Closed(())) => {
                self.drop_lines();
            }
        }
    }

    /// Sends the lines. If another session has sent them already, the permit returns to
    /// the queue.
    pub(super) fn send(&self, permit: Permit<'_, WriterMessage>) {
        let chunk = self.buffer.take();
        self.state.clear();
        if !chunk.is_empty() {
            permit.send(WriterMessage::Chunk(chunk));
        }
    }

    /// Drops the lines, because they can no longer be written; returns how many.
    pub(super) fn drop_lines(&self) -> usize {
        self.state.clear();
        let lines = count_lines(&self.buffer.take());
        self.dropped.inc_by(lines as u64);
        lines
    }
}
