//! Clients that wait for a broker's tokens, in order of arrival.

use std::{
    collections::{BTreeMap, HashMap},
    task::Waker,
    time::Instant,
};

use prometheus::{Histogram, IntGauge};

use crate::{
    config,
    limits::token_bucket::{BucketSize, TokenBucket},
    metrics::{ScopedSample, UpstreamMetrics},
};

/// The result of a client's wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionOutcome {
    Admitted,
    /// The client has waited for `admission.max_wait`.
    TimedOut,
}

/// A token bucket and the clients that wait for it.
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    /// `None` until a limit has been configured.
    limit: Option<AdmissionLimit>,
    /// In order of arrival.
    waiting: BTreeMap<u64, Waiter>,
    /// Clients that have left `waiting` and have not been polled since.
    decided: HashMap<u64, Decision>,
    /// The number of the next client.
    next: u64,
}

#[derive(Debug)]
struct AdmissionLimit {
    config: config::Admission,
    bucket: TokenBucket,
    waiting: ScopedSample<IntGauge>,
    wait_seconds: ScopedSample<Histogram>,
}

#[derive(Debug)]
struct Waiter {
    waker: Waker,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Decision {
    outcome: AdmissionOutcome,
    /// Whether the client holds a token, which is refunded if the client has left.
    token: bool,
}

impl WaitQueue {
    pub(super) fn set_limit(
        &mut self,
        config: config::Admission,
        metrics: &UpstreamMetrics,
        now: Instant,
    ) {
        match &mut self.limit {
            Some(limit) => {
                let size = limit.size();
                limit.config = config;
                limit.bucket.resize(size, config.rate.into(), now);
            }
            limit @ None => {
                let (waiting, wait_seconds) = metrics.admission();
                let bucket = TokenBucket::full(now);
                *limit = Some(AdmissionLimit { config, bucket, waiting, wait_seconds });
            }
        }
    }

    /// Takes a token if there is one and no client is waiting for it.
    pub(super) fn try_enter(&mut self, now: Instant) -> bool {
        let nobody_waits = self.waiting.is_empty();
        let Some(limit) = &mut self.limit else { return true };
        let entered = nobody_waits && limit.take(now);
        if entered {
            limit.wait_seconds.observe(0.0);
        }
        entered
    }

    /// Admits clients while there are tokens, and turns away clients that have waited too long.
    /// Returns the wakers of all of them.
    pub(super) fn release(&mut self, now: Instant) -> Vec<Waker> {
        let mut released = Vec::new();
        let Self { limit: Some(limit), waiting, decided, .. } = self else { return released };
        while let Some(first) = waiting.first_entry() {
            let waited = now.saturating_duration_since(first.get().since);
            let decision = if limit.take(now) {
                limit.wait_seconds.observe(waited.as_secs_f64());
                Decision { outcome: AdmissionOutcome::Admitted, token: true }
            } else if waited >= limit.config.max_wait {
                Decision { outcome: AdmissionOutcome::TimedOut, token: false }
            } else {
                break;
            };
            let (number, Waiter { waker, .. }) = first.remove_entry();
            limit.waiting.dec();
            decided.insert(number, decision);
            released.push(waker);
        }
        released
    }

    /// Admits all clients, without tokens. Returns their wakers.
    pub(super) fn admit_all(&mut self) -> Vec<Waker> {
        let decision = Decision { outcome: AdmissionOutcome::Admitted, token: false };
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(limit) = &self.limit {
            for _ in waiting.keys() {
                limit.waiting.dec();
            }
        }
        self.decided.extend(waiting.keys().map(|number| (*number, decision)));
        waiting.into_values().map(|waiter| waiter.waker).collect()
    }

    /// The number of waiting clients.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a client that has been waiting since `since`. Returns its number, and whether it is the
    /// only one.
    pub(super) fn join(&mut self, waker: Waker, since: Instant) -> (u64, bool) {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, Waiter { waker, since });
        if let Some(limit) = &self.limit {
            limit.waiting.inc();
        }
        (number, self.waiting.len() == 1)
    }

    /// The outcome of a client's wait; `None` while it waits, with `waker` registered to be woken.
    pub(super) fn outcome(&mut self, number: u64, waker: &Waker) -> Option<AdmissionOutcome> {
        if let Some(waiter) = self.waiting.get_mut(&number) {
            waiter.waker.clone_from(waker);
            return None;
        }
        let decision = self.decided.remove(&number);
        Some(decision.map_or(AdmissionOutcome::Admitted, |decision| decision.outcome))
    }

    /// Removes a client that leaves before it has received its outcome, and refunds its token.
    pub(super) fn leave(&mut self, number: u64) {
        let waited = self.waiting.remove(&number).is_some();
        let decided = self.decided.remove(&number);
        let Some(limit) = &mut self.limit else { return };
        if waited {
            limit.waiting.dec();
        }
        if decided.is_some_and(|decision| decision.token) {
            let size = limit.size();
            limit.bucket.give_back(size);
        }
    }
}

impl AdmissionLimit {
    fn size(&self) -> BucketSize {
        self.config.rate.into()
    }

    fn take(&mut self, now: Instant) -> bool {
        let size = self.size();
        self.bucket.take(size, now)
    }
}
