//! Sessions ordered by age.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

/// Sessions of a worker, oldest first. A heap, because it grows and shrinks in small steps; sorting
/// many sessions would block the worker's clients.
#[derive(Default)]
pub(crate) struct SessionsByAge(BinaryHeap<Reverse<AgedSession>>);

/// A session that may have ended since it was queued; another session may then have its slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AgedSession {
    pub(crate) accepted: Instant,
    pub(crate) session_id: u64,
    pub(crate) slot: u32,
}

impl SessionsByAge {
    pub(crate) fn push(&mut self, session: AgedSession) {
        self.0.push(Reverse(session));
    }

    pub(crate) fn oldest(&self) -> Option<AgedSession> {
        self.0.peek().map(|Reverse(oldest)| *oldest)
    }

    pub(crate) fn pop(&mut self) -> Option<AgedSession> {
        self.0.pop().map(|Reverse(oldest)| oldest)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
