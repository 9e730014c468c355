//! A worker's end of the access logs: renders the lines and hands them over in chunks.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc::Sender};

use super::{
    entry::Entry,
    format::LineFormat,
    queue::{REMOVED_LOG_TIMEOUT, WriterMessage},
    worker_buffer::WorkerBuffer,
};
use crate::{config::LogLineFormat, labels::Event, timestamp::Timestamp};

/// How often an exiting worker checks whether a queue has room.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// One worker's end of the access logs.
///
/// Lines are rendered into buffers of this thread; the writer is woken once per chunk, never per
/// line.
pub struct WorkerLogs {
    groups: RefCell<Vec<FormatGroup>>,
    /// Buffers of removed logs that still have lines, and when those lines are dropped.
    removed: RefCell<Vec<(WorkerBuffer, Instant)>>,
    /// Wakes the sessions that wait for room in a log that may have been removed.
    replaced: Notify,
    stamp: RefCell<Timestamp>,
    line: RefCell<Vec<u8>>,
}

/// The logs of one format: a line is rendered once for all of them.
pub(super) struct FormatGroup {
    pub(super) source: LogLineFormat,
    pub(super) format: LineFormat,
    pub(super) buffers: Vec<WorkerBuffer>,
}

impl WorkerLogs {
    pub(super) fn new(groups: Vec<FormatGroup>) -> Self {
        Self {
            groups: RefCell::new(groups),
            removed: RefCell::default(),
            replaced: Notify::new(),
            stamp: RefCell::default(),
            line: RefCell::default(),
        }
    }

    /// Whether any log records this event: if not, no entry is needed.
    pub fn wants(&self, event: Event) -> bool {
        self.any(|buffer| buffer.wants(event))
    }

    /// Whether [`Self::wait_for_room`] would return at once.
    pub fn has_room(&self) -> bool {
        !self.any(WorkerBuffer::must_wait)
    }

    /// Waits until every log that must not lose lines has room for one.
    ///
    /// The room is kept only until the caller's next `await`, so call [`Self::write`] before that.
    pub async fn wait_for_room(&self) {
        // Other logs may fill up during the wait, so all of them are checked again.
        while let Some(queue) = self.full_queue() {
            // Boxed, because waiting is rare and every session's future would be larger otherwise.
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
        for FormatGroup { format, buffers, .. } in &*groups {
            line.clear();
            let wanted = buffers.iter().filter(|buffer| buffer.wants(entry.event));
            for buffer in wanted.filter(|buffer| buffer.admit_line()) {
                if line.is_empty() {
                    format.render(entry, &stamp, &mut line);
                }
                buffer.write(&line, entry.event, &stamp);
            }
        }
    }

    /// Continues with the logs of another configuration. Buffered lines stay with their log, even
    /// if it has been removed.
    #[expect(clippy::needless_pass_by_value, reason = "nothing useful is left of `new`")]
    pub fn replace(&self, new: Self) {
        let old = self.groups.replace(new.groups.take());
        let groups = self.groups.borrow();
        let deadline = Instant::now() + REMOVED_LOG_TIMEOUT;
        for old in old.into_iter().flat_map(|group| group.buffers) {
            match buffers(&groups).find(|new| new.queue.same_channel(&old.queue)) {
                Some(new) => new.take_over(&old),
                None if old.has_lines() => self.removed.borrow_mut().push((old, deadline)),
                None => {}
            }
        }
        self.replaced.notify_waiters();
    }

    /// Whether any buffer has lines for [`Self::flush`].
    pub fn has_lines(&self) -> bool {
        self.any(WorkerBuffer::has_lines) || !self.removed.borrow().is_empty()
    }

    /// Hands over the buffered lines as far as the queues have room; never blocks.
    pub fn flush(&self) {
        buffers(&self.groups.borrow()).for_each(WorkerBuffer::hand_over);
        self.removed.borrow_mut().retain(|(buffer, deadline)| {
            buffer.hand_over();
            if Instant::now() >= *deadline {
                buffer.drop_lines();
            }
            buffer.has_lines()
        });
    }

    /// Hands over everything, blocking the thread for at most `timeout`; for a worker's exit.
    ///
    /// Returns the number of lines that were dropped instead.
    pub fn flush_within(&self, timeout: Duration) -> usize {
        let deadline = Instant::now() + timeout;
        loop {
            self.flush();
            if !self.has_lines() {
                return 0;
            }
            if Instant::now() >= deadline {
                return self.drop_lines();
            }
            std::thread::sleep(EXIT_POLL_INTERVAL);
        }
    }

    /// Calls [`Self::flush_within`] for the last time.
    pub fn close(self, timeout: Duration) -> usize {
        self.flush_within(timeout)
    }

    /// The queue of a log whose buffer is full, if sessions must wait for it.
    fn full_queue(&self) -> Option<Sender<WriterMessage>> {
        let groups = self.groups.borrow();
        buffers(&groups).find(|buffer| buffer.must_wait()).map(|buffer| buffer.queue.clone())
    }

    /// Waits until a queue has room for the full buffer, or its log has been replaced.
    async fn wait_for_queue(&self, queue: Sender<WriterMessage>) {
        let permit = tokio::select! {
            permit = queue.reserve() => permit,
            () = self.replaced.notified() => return,
        };
        let groups = self.groups.borrow();
        let Some(full) = buffers(&groups).find(|buffer| buffer.queue.same_channel(&queue)) else {
            return;
        };
        match permit {
            Ok(permit) => full.send(permit),
            Err(_) => {
                full.drop_lines();
            }
        }
    }

    fn drop_lines(&self) -> usize {
        let removed = self.removed.take();
        let removed = removed.iter().map(|(buffer, _)| buffer);
        buffers(&self.groups.borrow()).chain(removed).map(WorkerBuffer::drop_lines).sum()
    }

    fn any(&self, predicate: impl FnMut(&WorkerBuffer) -> bool) -> bool {
        buffers(&self.groups.borrow()).any(predicate)
    }
}

fn buffers(groups: &[FormatGroup]) -> impl Iterator<Item = &WorkerBuffer> {
    groups.iter().flat_map(|group| &group.buffers)
}

impl Drop for WorkerLogs {
    /// A worker that ends without [`WorkerLogs::close`] still hands over the lines that fit into
    /// the queues.
    fn drop(&mut self) {
        self.flush();
        self.drop_lines();
    }
}
