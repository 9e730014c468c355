//! The admission queue of a broker: a rate limit on CONNECTs. Clients over the limit wait, first
//! come, first served.
//!
//! All workers share one queue per broker, so that the rate is the broker's and the queue is fair.
//! The pool's admission task releases clients that wait.

mod queue;
#[cfg(test)]
mod tests;
mod wait;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Instant,
};

use tokio::sync::Notify;

pub use queue::AdmissionOutcome;
use queue::WaitQueue;

use crate::{config, metrics::UpstreamMetrics};

/// A token bucket with a queue in front of it. It stays with its broker across reloads, and waiting
/// clients stay in it.
#[derive(Debug)]
pub struct AdmissionQueue {
    /// Whether CONNECTs are limited at all.
    is_limited: AtomicBool,
    /// Locked while tokens and places in the queue are assigned, never while a client is woken.
    queue: Mutex<WaitQueue>,
    /// Notified when the queue is no longer empty.
    queued: Arc<Notify>,
}

impl AdmissionQueue {
    pub(crate) fn new(queued: Arc<Notify>) -> Self {
        Self { is_limited: AtomicBool::new(false), queue: Mutex::default(), queued }
    }

    /// Applies another limit, also to waiting clients. All of them are admitted if there is no
    /// limit, or if the broker does not serve, since waiting would then be pointless.
    pub(crate) fn configure(
        &self,
        limit: Option<config::Admission>,
        serves: bool,
        metrics: &UpstreamMetrics,
        now: Instant,
    ) {
        let mut queue = self.queue();
        let is_limited = limit.is_some() && serves;
        self.is_limited.store(is_limited, Ordering::Relaxed);
        let released = if is_limited { Vec::new() } else { queue.admit_all() };
        if let Some(limit) = limit {
            queue.set_limit(limit, metrics, now);
        }
        drop(queue);
        wake(released);
    }

    /// Takes a token if there is one and no client is waiting for it.
    pub fn try_enter(&self, now: Instant) -> bool {
        !self.is_limited.load(Ordering::Relaxed) || self.queue().try_enter(now)
    }

    /// Admits as many clients as there are tokens, and turns away clients that have waited for
    /// `admission.max_wait`. True if others still wait.
    pub(crate) fn release(&self, now: Instant) -> bool {
        let mut queue = self.queue();
        let released = queue.release(now);
        let more = queue.waiting() > 0;
        drop(queue);
        wake(released);
        more
    }

    /// The number of waiting clients.
    pub fn waiting(&self) -> usize {
        self.queue().waiting()
    }

    fn queue(&self) -> MutexGuard<'_, WaitQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Called without holding the queue's lock, as waking may be a system call.
fn wake(released: Vec<Waker>) {
    released.into_iter().for_each(Waker::wake);
}
