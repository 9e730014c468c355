//! How workers learn that there is something to look at.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

/// Rung by any thread; every worker compares the count with what it last heard.
#[derive(Debug, Default)]
pub struct WorkerSignal {
    rings: AtomicU64,
    /// Held for a round of wakes.
    workers: Mutex<Vec<Waker>>,
}

impl WorkerSignal {
    /// Has `worker` woken at every ring from now on.
    pub fn listen(&self, worker: Waker) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    pub fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Release);
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().for_each(Waker::wake_by_ref);
    }

    /// How often it was rung.
    pub fn rings(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }
}
