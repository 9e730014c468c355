//! A worker's end of the access logs: it renders the lines, and hands them over in chunks.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc::Sender};

use super::{
    entry::Entry, format::LineFormat, logs::LEAVING_PATIENCE, sink::Message,
    worker_buffer::SinkBuffer,
};
use crate::{config::LogLineFormat, labels::Event, timestamp::Timestamp};

/// One worker's end of the access logs.
///
/// Lines are rendered into buffers of this thread; handing one over costs the writer one wake-up a
/// chunk, never one a line.
pub struct WorkerLogs {
    groups: RefCell<Vec<Group>>,
    /// Of logs that are configured no longer: what is to be handed over yet, and until when.
    leaving: RefCell<Vec<(SinkBuffer, Instant)>>,
    /// Tells those who wait for room that it may be another log's now.
    replaced: Notify,
    stamp: RefCell<Timestamp>,
    line: RefCell<Vec<u8>>,
}

/// The logs of one format, which is rendered once for all of them.
pub(super) struct Group {
    pub(super) source: LogLineFormat,
    pub(super) format: LineFormat,
    pub(super) buffers: Vec<SinkBuffer>,
}

impl WorkerLogs {
    pub(super) fn new(groups: Vec<Group>) -> Self {
        Self {
            groups: RefCell::new(groups),
            leaving: RefCell::default(),
            replaced: Notify::new(),
            stamp: RefCell::default(),
            line: RefCell::default(),
        }
    }

    /// Whether any log has lines of this event: if not, no entry need be made.
    pub fn wants(&self, event: Event) -> bool {
        self.any(|buffer| buffer.wants(event))
    }

    /// Whether [`Self::wait_for_room`] would return at once.
    pub fn has_room(&self) -> bool {
        !self.any(SinkBuffer::must_wait)
    }

    /// Waits until every log that may not lose lines has room for one.
    ///
    /// The room is there until the caller's next `await`, so [`Self::write`] must follow at once.
    pub async fn wait_for_room(&self) {
        // Waiting for one log gives others time to fill up: look again from the start.
        while let Some(queue) = self.full_queue() {
            // Boxed, as waiting is rare and every session's memory would have the room for it.
            Box::pin(self.wait_for_queue(queue)).await;
        }
    }

    /// Writes one line to every log that wants it.
    pub fn write(&self, entry: &Entry<'_>) {
        let groups = self.groups.borrow();
        if groups.is_empty() {
            return;
        }
        let mut stamp = self.stamp.borrow_mut();
        stamp.set(entry.time);
        let mut line = self.line.borrow_mut();
        for Group { format, buffers, .. } in &*groups {
            line.clear();
            let wanting = buffers.iter().filter(|buffer| buffer.wants(entry.event));
            for buffer in wanting.filter(|buffer| buffer.takes_one()) {
                if line.is_empty() {
                    format.render(entry, &stamp, &mut line);
                }
                buffer.write(&line, entry.event, &stamp);
            }
        }
    }

    /// Goes on with another configuration's logs, those of `new`. Lines that wait here stay with
    /// their log, whether it is still there or leaving.
    #[expect(clippy::needless_pass_by_value, reason = "what is left of it is of no use")]
    pub fn replace(&self, new: Self) {
        let old = self.groups.replace(new.groups.take());
        let groups = self.groups.borrow();
        let until = Instant::now() + LEAVING_PATIENCE;
        for old in old.into_iter().flat_map(|group| group.buffers) {
            match all(&groups).find(|new| new.queue.same_channel(&old.queue)) {
                Some(new) => new.take_over(&old),
                None if old.is_dirty() => self.leaving.borrow_mut().push((old, until)),
                None => {}
            }
        }
        self.replaced.notify_waiters();
    }

    /// Whether lines wait here for a [`Self::flush`].
    pub fn is_dirty(&self) -> bool {
        self.any(SinkBuffer::is_dirty) || !self.leaving.borrow().is_empty()
    }

    /// Hands over what waits here, as far as the queues have room; never blocks.
    pub fn flush(&self) {
        all(&self.groups.borrow()).for_each(SinkBuffer::hand_over);
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
    pub fn flush_within(&self, patience: Duration) -> usize {
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

    /// [`Self::flush_within`], for the last time.
    pub fn close(self, patience: Duration) -> usize {
        self.flush_within(patience)
    }

    /// The queue of a log that has to be waited for.
    fn full_queue(&self) -> Option<Sender<Message>> {
        let groups = self.groups.borrow();
        all(&groups).find(|buffer| buffer.must_wait()).map(|buffer| buffer.queue.clone())
    }

    /// Waits until a queue has room, or is nobody's concern any more.
    async fn wait_for_queue(&self, queue: Sender<Message>) {
        let permit = tokio::select! {
            permit = queue.reserve() => permit,
            () = self.replaced.notified() => return,
        };
        let groups = self.groups.borrow();
        let Some(full) = all(&groups).find(|buffer| buffer.queue.same_channel(&queue)) else {
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
        let leaving = leaving.iter().map(|(buffer, _)| buffer);
        all(&self.groups.borrow()).chain(leaving).map(SinkBuffer::lose).sum()
    }

    fn any(&self, is_it: impl FnMut(&SinkBuffer) -> bool) -> bool {
        all(&self.groups.borrow()).any(is_it)
    }
}

fn all(groups: &[Group]) -> impl Iterator<Item = &SinkBuffer> {
    groups.iter().flat_map(|group| &group.buffers)
}

impl Drop for WorkerLogs {
    /// A worker that ends without [`WorkerLogs::close`] still hands over what there is room for.
    fn drop(&mut self) {
        self.flush();
        self.lose();
    }
}

/// How often a closing worker looks for room.
const CLOSE_POLL: Duration = Duration::from_millis(5);
