//! The set of timers of a worker.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    task::Waker,
    time::Instant,
};

/// A worker's timers, sorted by time. Few are set at any time, so a sorted map suffices.
#[derive(Default)]
pub(super) struct Timers {
    set: RefCell<BTreeMap<(Instant, u64), Waker>>,
    seq: Cell<u64>,
}

impl Timers {
    /// When the next timer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.set.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes and removes all timers that are due.
    pub(super) fn fire(&self, now: Instant) {
        loop {
            let mut set = self.set.borrow_mut();
            let Some(first) = set.first_entry() else { return };
            if first.key().0 > now {
                return;
            }
            let waker = first.remove();
            drop(set);
            waker.wake();
        }
    }

    /// Sets a timer, or replaces the waker of the one numbered `seq`; returns its number.
    pub(super) fn set(&self, at: Instant, seq: Option<u64>, waker: &Waker) -> u64 {
        let seq = seq.unwrap_or_else(|| {
            self.seq.set(self.seq.get() + 1);
            self.seq.get()
        });
        self.set.borrow_mut().insert((at, seq), waker.clone());
        seq
    }

    pub(super) fn cancel(&self, at: Instant, seq: u64) {
        self.set.borrow_mut().remove(&(at, seq));
    }
}
