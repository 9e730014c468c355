//! Sessions in the order of their age.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

use crate::{
    labels::EndCause,
    session::{active::ActiveSession, context::WorkerContext},
};

/// Sessions looked at in one go, most of which have ended meanwhile.
const LOOKS: usize = 512;

/// Sessions of a worker, the oldest first. A heap, since it grows and shrinks in small steps, while
/// sorting many sessions would keep the worker from its clients.
#[derive(Default)]
pub(in crate::session) struct Oldest(BinaryHeap<Reverse<Candidate>>);

/// A session that may have ended since, and its slot may be another's.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    accepted: Instant,
    session: u64,
    slot: usize,
}

impl Oldest {
    pub(in crate::session) fn push(&mut self, slot: usize, live: &ActiveSession) {
        let (accepted, session) = (live.record.accepted, live.record.session);
        self.0.push(Reverse(Candidate { accepted, session, slot }));
    }

    pub(in crate::session) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops what comes before the first session that is `wanted`, and tells whether that has been
    /// found. It may not have been although there is one, so that no call takes long.
    pub(in crate::session) fn find(
        &mut self,
        context: &WorkerContext,
        wanted: impl Fn(&ActiveSession) -> bool,
    ) -> bool {
        for _ in 0..LOOKS {
            let Some(Reverse(first)) = self.0.peek() else { return false };
            if first.with(context, &wanted) == Some(true) {
                return true;
            }
            self.0.pop();
        }
        false
    }

    /// Ends the first session.
    pub(in crate::session) fn end_first(
        &mut self,
        context: &WorkerContext,
        cause: impl Fn(&ActiveSession) -> EndCause,
    ) {
        if let Some(Reverse(first)) = self.0.pop() {
            first.with(context, |live| live.end(cause(live)));
        }
    }
}

impl Candidate {
    fn with<T>(
        &self,
        context: &WorkerContext,
        look: impl FnOnce(&ActiveSession) -> T,
    ) -> Option<T> {
        context
            .sessions
            .with(self.slot, |live| (live.record.session == self.session).then(|| look(live)))?
    }
}
