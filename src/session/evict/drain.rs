//! The end of a worker: its sessions end evenly over the time that is left, the oldest first.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::spawn_local;

use super::oldest::Oldest;
use crate::{
    labels::EndCause,
    net::sleep,
    session::{context::WorkerContext, scan::scan},
};

/// Sessions that end in one turn: a DISCONNECT, two closes and a record each take less than a
/// millisecond in all.
const ENDS_AT_A_TIME: usize = 32;

/// How long a pace is kept before it is computed again, as sessions end and begin by themselves.
const PACE_FOR: Duration = Duration::from_secs(1);

/// The share of the time, and the most of it, by which the last session ends early, so that it
/// does not meet the end of the drain.
const MARGIN_SHARE: u32 = 16;
const MARGIN: Duration = Duration::from_secs(1);

/// How a worker drains.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// When all sessions are to have ended.
    pub until: Instant,
    /// From 0 to 1, another for each worker, so that they end their sessions in turn.
    pub offset: f64,
}

/// Ends all sessions over the time until then, those that begin meanwhile included. Handshakes go
/// on.
pub fn drain(context: &Rc<WorkerContext>, drain: Drain) {
    spawn_local(end_evenly(context.clone(), drain));
}

async fn end_evenly(context: Rc<WorkerContext>, Drain { until, offset }: Drain) {
    let (own, all) = (context.sessions.len(), context.limiter.open() as usize);
    let mut pace = Pace::new(context.reactor.now(), until, offset * others(own, all));
    let mut queue = Oldest::default();
    // Once the drain is over, `end_all` ends the rest.
    while context.ending.get().is_none() {
        let left = context.sessions.len();
        let due = pace.due(left, context.reactor.now());
        if due > 0 && queue.is_empty() {
            queue = all_by_age(&context).await;
        }
        let mut ended = 0;
        let is_there =
            |queue: &mut Oldest| queue.find(&context, |live| live.tally.verdict.get().is_none());
        while ended < due.min(ENDS_AT_A_TIME) && is_there(&mut queue) {
            queue.end_first(&context, |_| EndCause::Drain);
            ended += 1;
        }
        pace.ended(ended);
        if ended < due {
            context.reactor.turn.walks.turn().await;
        } else {
            let pause = pace.pause(left - ended).min(PACE_FOR);
            sleep(&context.reactor, pause).await;
        }
    }
}

/// The share of all connections that other workers have.
fn others(own: usize, all: usize) -> f64 {
    1.0 - own as f64 / all.max(own).max(1) as f64
}

async fn all_by_age(context: &WorkerContext) -> Oldest {
    let mut queue = Oldest::default();
    scan(context, |slot, live| {
        queue.push(slot, live);
        None::<()>
    })
    .await;
    queue
}

/// Spreads the ends of sessions over the time that is left, whatever their number comes to be.
#[derive(Debug)]
struct Pace {
    until: Instant,
    at: Instant,
    /// Sessions whose time had come by then, and the part of its time that the next one has had.
    due: f64,
    /// How much earlier than without other workers each session ends, in intervals.
    offset: f64,
}

impl Pace {
    fn new(now: Instant, until: Instant, offset: f64) -> Self {
        let time = until.saturating_duration_since(now);
        let margin = (time / MARGIN_SHARE).min(MARGIN);
        Self { until: now + time.saturating_sub(margin), at: now, due: offset, offset }
    }

    /// How many of the sessions that are left should have ended by now.
    fn due(&mut self, left: usize, now: Instant) -> usize {
        let all = left as f64;
        let time = self.until.saturating_duration_since(self.at);
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        // What is left goes down in a straight line to nothing at the end.
        self.due = if passed < time {
            let share = passed.as_secs_f64() / time.as_secs_f64();
            (self.due + (all + self.offset - self.due) * share).min(all)
        } else {
            all
        };
        self.due as usize
    }

    /// Notes that so many of those that were due have been ended.
    fn ended(&mut self, count: usize) {
        self.due -= count as f64;
    }

    /// The time until the next one is due, if their number stays.
    fn pause(&self, left: usize) -> Duration {
        if left == 0 {
            return PACE_FOR;
        }
        let time = self.until.saturating_duration_since(self.at);
        let share = (1.0 - self.due) / (left as f64 + self.offset - self.due);
        time.mul_f64(share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which `count` sessions end, where the pace is worked out again after `steps`
    /// of a second at the latest.
    fn ends(count: usize, offset: f64, step: Duration) -> Vec<f64> {
        let start = Instant::now();
        let mut pace = Pace::new(start, start + Duration::from_secs(17), offset);
        let (mut now, mut left, mut ends) = (start, count, Vec::new());
        while left > 0 {
            for _ in 0..pace.due(left, now) {
                ends.push((now - start).as_secs_f64());
                left -= 1;
                pace.ended(1);
            }
            now += pace.pause(left).min(step).max(Duration::from_nanos(1));
        }
        ends
    }

    #[track_caller]
    fn assert_near(ends: &[f64], wanted: impl Iterator<Item = f64>) {
        let wanted: Vec<_> = wanted.collect();
        assert_eq!(ends.len(), wanted.len());
        let near = ends.iter().zip(&wanted).all(|(end, wanted)| (end - wanted).abs() < 1e-3);
        assert!(near, "{ends:?} is not {wanted:?}");
    }

    /// However often it is worked out, and with a second to spare at the end.
    #[test]
    fn ends_are_even() {
        for step in [1, 70, 1000, 60_000].map(Duration::from_millis) {
            for count in [1, 2, 13, 640] {
                let wanted = |k: usize| 16.0 * k as f64 / count as f64;
                assert_near(&ends(count, 0.0, step), (1..=count).map(wanted));
            }
        }
    }

    /// Three workers, with five sessions each: fifteen ends, evenly.
    #[test]
    fn workers_take_turns() {
        let offsets = [0.0, 0.5, 1.0].map(|offset| offset * others(5, 15));
        let mut all: Vec<_> =
            offsets.iter().flat_map(|offset| ends(5, *offset, PACE_FOR)).collect();
        all.sort_by(f64::total_cmp);
        assert_near(&all, (1..=15).map(|k| 16.0 * f64::from(k) / 15.0));
        // A worker that has all of them waits as long as there is time.
        assert_near(&ends(1, others(1, 1), PACE_FOR), [16.0].into_iter());
    }

    /// Sessions that begin late bring no burst, and those that end by themselves leave no gap.
    #[test]
    fn the_number_changes() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(start, at(17), 0.0);
        assert_eq!(pace.due(1, at(8)), 0);
        // Half of its time has passed for the one, and none for the 99.
        assert_eq!(pace.due(100, at(8)), 0);
        assert!(pace.pause(100) < Duration::from_millis(50));
        assert_eq!(pace.due(100, at(12)), 50);
        pace.ended(50);
        // Of the 50 that are left, 40 end by themselves.
        assert_eq!(pace.due(10, at(12)), 0);
        assert!(pace.pause(10) <= Duration::from_millis(400), "{:?}", pace.pause(10));
        assert_eq!(pace.due(10, at(14)), 5);
        assert_eq!(pace.due(10, at(16)), 10);
        pace.ended(10);
        assert_eq!(pace.due(0, at(16)), 0);
        assert_eq!(pace.due(3, at(16)), 3);
    }

    #[test]
    fn no_time_at_all() {
        let now = Instant::now();
        let mut pace = Pace::new(now, now, 0.5);
        assert_eq!(pace.due(4, now), 4);
        pace.ended(4);
        assert_eq!(pace.due(0, now), 0);
        assert_eq!(pace.pause(0), PACE_FOR);
    }
}
