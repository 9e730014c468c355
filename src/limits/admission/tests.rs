use std::{
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{wait::AdmissionWait, *};
use crate::{config::Rate, metrics::Metrics};

fn limit(rate: u32, burst: u32) -> config::Admission {
    let of = |number| NonZeroU32::new(number).unwrap();
    let rate = Rate { rate: of(rate), burst: of(burst) };
    config::Admission { rate, max_wait: Duration::from_secs(5) }
}

struct Fixture {
    queue: AdmissionQueue,
    metrics: UpstreamMetrics,
    start: Instant,
}

fn queue(rate: u32, burst: u32) -> Fixture {
    let (queue, metrics) = (AdmissionQueue::new(Arc::default()), Metrics::new().upstream("p", "b"));
    let start = Instant::now();
    queue.configure(Some(limit(rate, burst)), true, &metrics, start);
    Fixture { queue, metrics, start }
}

impl Fixture {
    fn after(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn configure(&self, limit: Option<config::Admission>, after: u64) {
        self.queue.configure(limit, true, &self.metrics, self.after(after));
    }

    fn release(&self, after: u64) -> bool {
        self.queue.release(self.after(after))
    }

    /// `count` waiting clients.
    fn waits(&self, count: usize) -> Vec<AdmissionWait<'_>> {
        let mut waits: Vec<_> = (0..count).map(|_| self.queue.wait(self.start)).collect();
        assert_eq!(admitted(&mut waits), 0);
        waits
    }

    fn gauge(&self) -> i64 {
        self.metrics.admission().0.get()
    }
}

fn poll(wait: &mut AdmissionWait<'_>) -> Option<AdmissionOutcome> {
    match Pin::new(wait).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(admission) => Some(admission),
        Poll::Pending => None,
    }
}

/// Removes the clients that were admitted, which have to be the first ones.
fn admitted(waits: &mut Vec<AdmissionWait<'_>>) -> usize {
    let polled: Vec<_> = waits.iter_mut().map(poll).collect();
    let count = polled.iter().filter(|polled| **polled == Some(AdmissionOutcome::Admitted)).count();
    assert!(polled[..count].iter().all(Option::is_some), "{polled:?}");
    waits.drain(..count);
    count
}

#[test]
fn a_burst_at_once_and_then_the_rate_in_order() {
    let fixture = queue(10, 3);
    assert_eq!((0..5).filter(|_| fixture.queue.try_enter(fixture.start)).count(), 3);
    let mut waits = fixture.waits(4);
    assert_eq!((fixture.gauge(), fixture.queue.waiting()), (4, 4));
    assert!(fixture.release(99));
    assert_eq!(admitted(&mut waits), 0);
    assert!(fixture.release(250));
    assert_eq!(admitted(&mut waits), 2);
    // A new client queues behind the waiting ones, whether there are tokens or not.
    assert!(!fixture.queue.try_enter(fixture.after(1_000)));
    assert!(!fixture.release(1_000));
    assert_eq!(admitted(&mut waits), 2);
    assert_eq!(fixture.gauge(), 0);
}

#[test]
fn a_client_that_leaves_costs_the_others_nothing() {
    let fixture = queue(10, 1);
    assert!(fixture.queue.try_enter(fixture.start));
    let mut waits = fixture.waits(3);
    // One client leaves the queue, the next one leaves just after it was admitted.
    drop(waits.remove(0));
    assert!(fixture.release(100));
    drop(waits.remove(0));
    assert!(!fixture.release(100));
    assert_eq!(admitted(&mut waits), 1);
    assert_eq!(fixture.gauge(), 0);
}

#[test]
fn the_queue_knows_its_time_limit() {
    let fixture = queue(1, 1);
    assert!(fixture.queue.try_enter(fixture.start));
    let mut waits = fixture.waits(7);
    for second in 1..5 {
        assert!(fixture.release(second * 1000));
    }
    assert_eq!(admitted(&mut waits), 4);
    assert!(!fixture.release(5_000));
    let last: Vec<_> = waits.iter_mut().map(poll).collect();
    let wanted =
        [AdmissionOutcome::Admitted, AdmissionOutcome::TimedOut, AdmissionOutcome::TimedOut];
    assert_eq!(last, wanted.map(Some));
    assert_eq!(fixture.gauge(), 0);
}

#[test]
fn a_new_limit_applies_to_clients_that_wait() {
    let fixture = queue(1, 1);
    assert!(fixture.queue.try_enter(fixture.start));
    let mut waits = fixture.waits(20);
    fixture.configure(Some(limit(100, 5)), 0);
    assert!(fixture.release(30));
    assert_eq!(admitted(&mut waits), 3);
    // A smaller burst drops the tokens beyond it; without a limit, all clients are admitted.
    fixture.configure(Some(limit(100, 2)), 1_000);
    assert!(fixture.release(1_000));
    assert_eq!(admitted(&mut waits), 2);
    fixture.configure(None, 1_000);
    assert_eq!(admitted(&mut waits), 15);
    assert_eq!(fixture.gauge(), 0);
    assert!(fixture.queue.try_enter(fixture.start));
    let mut late = fixture.queue.wait(fixture.start);
    assert_eq!(poll(&mut late), Some(AdmissionOutcome::Admitted));
}
