//! The admission queue of a broker: so many CONNECTs a second, the rest wait, first come, first
//! served.
//!
//! One queue a broker for all workers, so that the rate is the broker's and the queue is fair. The
//! pool's admission task releases those who wait.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use prometheus::{Histogram, IntGauge};
use tokio::sync::Notify;

use crate::{
    config,
    metrics::{ScopedSample, UpstreamMetrics},
};

/// A token bucket (ITU-T I.371 calls it GCRA) with a queue before it. It stays with its broker
/// through reloads, and those who wait stay in it.
#[derive(Debug)]
pub struct AdmissionQueue {
    /// Whether CONNECTs are counted at all.
    limits: AtomicBool,
    /// Held for a look at it.
    queue: Mutex<Queue>,
    /// Told when the queue is no longer empty.
    queued: Arc<Notify>,
}

/// What became of a client that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// It has waited for `admission.max_wait`.
    TooLong,
}

#[derive(Debug, Default)]
struct Queue {
    /// `None` until the configuration has asked for a limit.
    bucket: Option<Bucket>,
    /// By arrival.
    waiting: BTreeMap<u64, Waiting>,
    /// Those that have left `waiting` and have not been polled since.
    decided: HashMap<u64, Decision>,
    next: u64,
}

#[derive(Debug)]
struct Bucket {
    config: config::Admission,
    tokens: f64,
    refilled: Instant,
    waiting: ScopedSample<IntGauge>,
    wait_seconds: ScopedSample<Histogram>,
}

#[derive(Debug)]
struct Waiting {
    waker: Waker,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Decision {
    admission: Admission,
    /// Whether it holds a token, which is the next one's if it has gone.
    token: bool,
}

impl AdmissionQueue {
    pub(crate) fn new(queued: Arc<Notify>) -> Self {
        Self { limits: AtomicBool::new(false), queue: Mutex::default(), queued }
    }

    /// Limits CONNECTs so from now on, also those that wait. All are let in where there is no limit,
    /// or where the broker does not serve and there is nothing to wait for.
    pub(crate) fn configure(
        &self,
        limit: Option<config::Admission>,
        serves: bool,
        metrics: &UpstreamMetrics,
        now: Instant,
    ) {
        let mut queue = self.queue();
        self.limits.store(limit.is_some() && serves, Ordering::Relaxed);
        let released = if limit.is_none() || !serves { queue.admit_all() } else { Vec::new() };
        match (&mut queue.bucket, limit) {
            (_, None) => {}
            (Some(bucket), Some(limit)) => bucket.configure(limit, now),
            (bucket @ None, Some(limit)) => *bucket = Some(Bucket::new(limit, metrics, now)),
        }
        drop(queue);
        wake(released);
    }

    /// Takes a token if there is one and nobody waits for it.
    pub fn try_enter(&self, now: Instant) -> bool {
        if !self.limits.load(Ordering::Relaxed) {
            return true;
        }
        let mut queue = self.queue();
        let nobody_waits = queue.waiting.is_empty();
        let Some(bucket) = &mut queue.bucket else { return true };
        let entered = nobody_waits && bucket.take(now);
        if entered {
            bucket.wait_seconds.observe(0.0);
        }
        entered
    }

    /// A place in the queue, taken when it is first polled.
    pub fn turn(&self, now: Instant) -> Turn<'_> {
        Turn { admission: self, place: None, since: now }
    }

    /// Lets in as many as there are tokens for, and gives up on those who have waited too long;
    /// true if others still wait.
    pub(crate) fn release(&self, now: Instant) -> bool {
        let mut queue = self.queue();
        let released = queue.release(now);
        let more = !queue.waiting.is_empty();
        drop(queue);
        wake(released);
        more
    }

    /// Clients that wait.
    pub fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not under the queue's lock, as a wake may be a system call.
fn wake(released: Vec<Waker>) {
    released.into_iter().for_each(Waker::wake);
}

impl Queue {
    fn release(&mut self, now: Instant) -> Vec<Waker> {
        let mut released = Vec::new();
        let Self { bucket: Some(bucket), waiting, decided, .. } = self else { return released };
        while let Some(first) = waiting.first_entry() {
            let waited = now.saturating_duration_since(first.get().since);
            let decision = if bucket.take(now) {
                bucket.wait_seconds.observe(waited.as_secs_f64());
                Decision { admission: Admission::Admitted, token: true }
            } else if waited >= bucket.config.max_wait {
                Decision { admission: Admission::TooLong, token: false }
            } else {
                break;
            };
            let (place, Waiting { waker, .. }) = first.remove_entry();
            bucket.waiting.dec();
            decided.insert(place, decision);
            released.push(waker);
        }
        released
    }

    fn admit_all(&mut self) -> Vec<Waker> {
        let decision = Decision { admission: Admission::Admitted, token: false };
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(bucket) = &self.bucket {
            for _ in waiting.keys() {
                bucket.waiting.dec();
            }
        }
        self.decided.extend(waiting.keys().map(|place| (*place, decision)));
        waiting.into_values().map(|waiting| waiting.waker).collect()
    }
}

impl Bucket {
    fn new(config: config::Admission, metrics: &UpstreamMetrics, now: Instant) -> Self {
        let (waiting, wait_seconds) = metrics.admission();
        let tokens = config.rate.burst.get().into();
        Self { config, tokens, refilled: now, waiting, wait_seconds }
    }

    fn configure(&mut self, config: config::Admission, now: Instant) {
        self.refill(now);
        self.config = config;
        self.tokens = self.tokens.min(config.rate.burst.get().into());
    }

    fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }

    fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.config.rate.burst.get().into());
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = self.refilled.max(now);
        let refilled = self.tokens + elapsed * f64::from(self.config.rate.rate.get());
        self.tokens = refilled.min(self.config.rate.burst.get().into());
    }
}

/// A client that waits. Dropped, it gives up its place, so that no token is spent on it.
pub struct Turn<'a> {
    admission: &'a AdmissionQueue,
    place: Option<u64>,
    since: Instant,
}

impl Future for Turn<'_> {
    type Output = Admission;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Admission> {
        let mut queue = self.admission.queue();
        if let Some(place) = self.place {
            if let Some(waiting) = queue.waiting.get_mut(&place) {
                waiting.waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            let decided = queue.decided.remove(&place).map(|decision| decision.admission);
            drop(queue);
            self.place = None;
            return Poll::Ready(decided.unwrap_or(Admission::Admitted));
        }
        // The limit may have gone since the client was told to wait.
        if !self.admission.limits.load(Ordering::Relaxed) {
            return Poll::Ready(Admission::Admitted);
        }
        let place = queue.next;
        queue.next += 1;
        queue.waiting.insert(place, Waiting { waker: cx.waker().clone(), since: self.since });
        let first = queue.waiting.len() == 1;
        if let Some(bucket) = &queue.bucket {
            bucket.waiting.inc();
        }
        drop(queue);
        self.place = Some(place);
        if first {
            self.admission.queued.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut queue = self.admission.queue();
        let waited = queue.waiting.remove(&place).is_some();
        let decided = queue.decided.remove(&place);
        let Some(bucket) = &mut queue.bucket else { return };
        if waited {
            bucket.waiting.dec();
        }
        if decided.is_some_and(|decision| decision.token) {
            bucket.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, task::Waker, time::Duration};

    use super::*;
    use crate::{config::Rate, metrics::Metrics};

    fn limit(rate: u32, burst: u32) -> config::Admission {
        let of = |number| NonZeroU32::new(number).unwrap();
        let rate = Rate { rate: of(rate), burst: of(burst) };
        config::Admission { rate, max_wait: Duration::from_secs(5) }
    }

    struct Tested {
        queue: AdmissionQueue,
        metrics: UpstreamMetrics,
        start: Instant,
    }

    fn queue(rate: u32, burst: u32) -> Tested {
        let (queue, metrics) =
            (AdmissionQueue::new(Arc::default()), Metrics::new().upstream("p", "b"));
        let start = Instant::now();
        queue.configure(Some(limit(rate, burst)), true, &metrics, start);
        Tested { queue, metrics, start }
    }

    impl Tested {
        fn after(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn configure(&self, limit: Option<config::Admission>, after: u64) {
            self.queue.configure(limit, true, &self.metrics, self.after(after));
        }

        fn release(&self, after: u64) -> bool {
            self.queue.release(self.after(after))
        }

        /// So many clients that wait.
        fn turns(&self, count: usize) -> Vec<Turn<'_>> {
            let mut turns: Vec<_> = (0..count).map(|_| self.queue.turn(self.start)).collect();
            assert_eq!(admitted(&mut turns), 0);
            turns
        }

        fn gauge(&self) -> i64 {
            self.metrics.admission().0.get()
        }
    }

    fn poll(turn: &mut Turn<'_>) -> Option<Admission> {
        match Pin::new(turn).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(admission) => Some(admission),
            Poll::Pending => None,
        }
    }

    /// Takes out those that were admitted, which have to be the first ones.
    fn admitted(turns: &mut Vec<Turn<'_>>) -> usize {
        let polled: Vec<_> = turns.iter_mut().map(poll).collect();
        let count = polled.iter().filter(|polled| **polled == Some(Admission::Admitted)).count();
        assert!(polled[..count].iter().all(Option::is_some), "{polled:?}");
        turns.drain(..count);
        count
    }

    #[test]
    fn a_burst_at_once_and_then_the_rate_in_order() {
        let tested = queue(10, 3);
        assert_eq!((0..5).filter(|_| tested.queue.try_enter(tested.start)).count(), 3);
        let mut turns = tested.turns(4);
        assert_eq!((tested.gauge(), tested.queue.waiting()), (4, 4));
        assert!(tested.release(99));
        assert_eq!(admitted(&mut turns), 0);
        assert!(tested.release(250));
        assert_eq!(admitted(&mut turns), 2);
        // Who comes now is behind those who wait, tokens or not.
        assert!(!tested.queue.try_enter(tested.after(1_000)));
        assert!(!tested.release(1_000));
        assert_eq!(admitted(&mut turns), 2);
        assert_eq!(tested.gauge(), 0);
    }

    #[test]
    fn a_client_that_leaves_costs_the_others_nothing() {
        let tested = queue(10, 1);
        assert!(tested.queue.try_enter(tested.start));
        let mut turns = tested.turns(3);
        // One leaves the queue, the next one when it has just been let in.
        drop(turns.remove(0));
        assert!(tested.release(100));
        drop(turns.remove(0));
        assert!(!tested.release(100));
        assert_eq!(admitted(&mut turns), 1);
        assert_eq!(tested.gauge(), 0);
    }

    #[test]
    fn the_queue_knows_its_time_limit() {
        let tested = queue(1, 1);
        assert!(tested.queue.try_enter(tested.start));
        let mut turns = tested.turns(7);
        for second in 1..5 {
            assert!(tested.release(second * 1000));
        }
        assert_eq!(admitted(&mut turns), 4);
        assert!(!tested.release(5_000));
        let last: Vec<_> = turns.iter_mut().map(poll).collect();
        let wanted = [Admission::Admitted, Admission::TooLong, Admission::TooLong];
        assert_eq!(last, wanted.map(Some));
        assert_eq!(tested.gauge(), 0);
    }

    #[test]
    fn another_limit_holds_for_those_who_wait() {
        let tested = queue(1, 1);
        assert!(tested.queue.try_enter(tested.start));
        let mut turns = tested.turns(20);
        tested.configure(Some(limit(100, 5)), 0);
        assert!(tested.release(30));
        assert_eq!(admitted(&mut turns), 3);
        // A smaller burst takes what was saved up, and no limit at all lets everybody in.
        tested.configure(Some(limit(100, 2)), 1_000);
        assert!(tested.release(1_000));
        assert_eq!(admitted(&mut turns), 2);
        tested.configure(None, 1_000);
        assert_eq!(admitted(&mut turns), 15);
        assert_eq!(tested.gauge(), 0);
        assert!(tested.queue.try_enter(tested.start));
        let mut late = tested.queue.turn(tested.start);
        assert_eq!(poll(&mut late), Some(Admission::Admitted));
    }
}
