//! A broker's door: so many CONNECTs a second, the rest in a queue, first come, first served.
//!
//! One door a broker for all workers, so that the rate is the broker's and the queue is fair. It is
//! the control thread that lets those in who wait.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use prometheus::{Histogram, IntGauge};
use tokio::sync::Notify;

use crate::{
    config,
    observe::{Part, UpstreamMetrics},
};

/// A token bucket (ITU-T I.371 calls it GCRA) with a queue before it.
#[derive(Debug)]
pub struct Admission {
    pub config: config::Admission,
    /// Held for a look at it.
    queue: Mutex<Queue>,
    /// Told when the queue is no longer empty.
    queued: Arc<Notify>,
    waiting: Part<IntGauge>,
    wait_seconds: Part<Histogram>,
}

#[derive(Debug)]
struct Queue {
    tokens: f64,
    refilled: Instant,
    /// By arrival. Who leaves gives up the place, so that none is spent on a client that is gone.
    waiting: BTreeMap<u64, Waker>,
    next: u64,
}

impl Admission {
    pub(super) fn new(
        config: config::Admission,
        queued: Arc<Notify>,
        metrics: &UpstreamMetrics,
    ) -> Self {
        let (waiting, wait_seconds) = metrics.admission();
        Self {
            config,
            queue: Mutex::new(Queue {
                tokens: config.rate.burst.get().into(),
                refilled: Instant::now(),
                waiting: BTreeMap::new(),
                next: 0,
            }),
            queued,
            waiting,
            wait_seconds,
        }
    }

    /// Takes a token if there is one and nobody waits for it.
    pub fn try_enter(&self, now: Instant) -> bool {
        let mut queue = self.queue();
        self.refill(&mut queue, now);
        let free = queue.waiting.is_empty() && queue.tokens >= 1.0;
        if free {
            queue.tokens -= 1.0;
            drop(queue);
            self.wait_seconds.observe(0.0);
        }
        free
    }

    /// A place in the queue, which ends with a token.
    pub fn turn(&self) -> Turn<'_> {
        Turn { admission: self, place: Place::None, since: Instant::now() }
    }

    /// Lets in as many as there are tokens for; true if others still wait.
    pub fn release(&self, now: Instant) -> bool {
        let mut queue = self.queue();
        self.refill(&mut queue, now);
        let mut released = Vec::new();
        while queue.tokens >= 1.0 {
            let Some((_, waker)) = queue.waiting.pop_first() else { break };
            queue.tokens -= 1.0;
            released.push(waker);
        }
        let more = !queue.waiting.is_empty();
        drop(queue);
        released.into_iter().for_each(Waker::wake);
        more
    }

    /// Lets in all who wait, for a broker that serves nobody: they will find out at once.
    pub fn release_all(&self) {
        let waiting = std::mem::take(&mut self.queue().waiting);
        waiting.into_values().for_each(Waker::wake);
    }

    fn refill(&self, queue: &mut Queue, now: Instant) {
        let elapsed = now.saturating_duration_since(queue.refilled);
        queue.refilled = queue.refilled.max(now);
        queue.tokens = (queue.tokens
            + elapsed.as_secs_f64() * f64::from(self.config.rate.rate.get()))
        .min(f64::from(self.config.rate.burst.get()));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that waits.
pub struct Turn<'a> {
    admission: &'a Admission,
    place: Place,
    since: Instant,
}

#[derive(Clone, Copy)]
enum Place {
    None,
    InQueue(u64),
    Done,
}

impl Future for Turn<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let admission = self.admission;
        let mut queue = admission.queue();
        match self.place {
            Place::None => {
                let place = queue.next;
                queue.next += 1;
                queue.waiting.insert(place, cx.waker().clone());
                let first = queue.waiting.len() == 1;
                drop(queue);
                self.place = Place::InQueue(place);
                admission.waiting.inc();
                if first {
                    admission.queued.notify_one();
                }
                Poll::Pending
            }
            Place::InQueue(place) => {
                if let Some(waker) = queue.waiting.get_mut(&place) {
                    waker.clone_from(cx.waker());
                    return Poll::Pending;
                }
                drop(queue);
                self.place = Place::Done;
                admission.waiting.dec();
                admission.wait_seconds.observe(self.since.elapsed().as_secs_f64());
                Poll::Ready(())
            }
            Place::Done => Poll::Ready(()),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Place::InQueue(place) = self.place {
            let mut queue = self.admission.queue();
            if queue.waiting.remove(&place).is_none() {
                // It was let in and is not there any more: the token is the next one's.
                queue.tokens =
                    (queue.tokens + 1.0).min(self.admission.config.rate.burst.get().into());
            }
            drop(queue);
            self.admission.waiting.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use std::time::Duration;

    use super::*;
    use crate::{config::Rate, observe::Metrics};

    fn admission(rate: u32, burst: u32) -> Admission {
        let rate = Rate { rate: rate.try_into().unwrap(), burst: burst.try_into().unwrap() };
        let config = config::Admission { rate, max_wait: Duration::from_secs(5) };
        Admission::new(config, Arc::default(), &Metrics::new().upstream("p", "b"))
    }

    fn poll(turn: &mut Turn<'_>) -> bool {
        Pin::new(turn).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_burst_at_once_and_then_the_rate_in_order() {
        let door = admission(10, 3);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!((0..5).filter(|_| door.try_enter(start)).count(), 3);
        let mut turns: Vec<_> = (0..4).map(|_| door.turn()).collect();
        assert!(turns.iter_mut().all(|turn| !poll(turn)));
        assert!(door.release(after(99)));
        assert!(turns.iter_mut().all(|turn| !poll(turn)));
        assert!(door.release(after(250)));
        let let_in: Vec<_> = turns.iter_mut().map(poll).collect();
        assert_eq!(let_in, [true, true, false, false]);
        // Whoever comes now is behind those who wait, tokens or not.
        assert!(!door.try_enter(after(10_000)));
        assert!(!door.release(after(10_000)));
        assert!(turns.iter_mut().all(poll));
    }

    #[test]
    fn whoever_leaves_costs_the_others_nothing() {
        let door = admission(10, 1);
        let start = Instant::now();
        assert!(door.try_enter(start));
        let mut turns: Vec<_> = (0..3).map(|_| door.turn()).collect();
        assert!(turns.iter_mut().all(|turn| !poll(turn)));
        // One leaves the queue, the next one when it has just been let in.
        drop(turns.remove(0));
        assert!(door.release(start + Duration::from_millis(100)));
        drop(turns.remove(0));
        assert!(!door.release(start + Duration::from_millis(100)));
        assert!(poll(&mut turns[0]));
        assert_eq!(door.waiting.get(), 1 - 1);
    }
}
