//! The signal to workers that something has changed.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

/// Raised by any thread. Each worker compares the count with the count that it last acted on.
#[derive(Debug, Default)]
pub struct WorkerSignal {
    count: AtomicU64,
    /// Locked while all of them are woken.
    workers: Mutex<Vec<Waker>>,
}

impl WorkerSignal {
    /// Wakes `worker` at each signal from now on.
    pub(crate) fn subscribe(&self, worker: Waker) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    pub fn raise(&self) {
        self.count.fetch_add(1, Ordering::Release);
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().for_each(Waker::wake_by_ref);
    }

    /// How many times the signal was raised.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}
