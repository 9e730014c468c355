//! The drain of a worker: its sessions end evenly over the remaining time, oldest first.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::spawn_local;

use super::oldest::{end_oldest, find_oldest};
use crate::{
    labels::EndCause,
    net::sleep,
    session::{
        active::ActiveSession, by_age::SessionsByAge, context::WorkerContext, table::VISIT_COST,
        walk::walk,
    },
};

/// Sessions ended in one turn: a DISCONNECT, two closes and a record for each take less than a
/// millisecond in total.
const MAX_ENDS_PER_TURN: usize = 32;

/// How long a pace is kept before it is computed again; sessions also end and begin by themselves.
const PACE_INTERVAL: Duration = Duration::from_secs(1);

/// The last session ends early by this fraction of the drain, at most by [`MAX_MARGIN`], so that it
/// does not overrun the end of the drain.
const MARGIN_DIVISOR: u32 = 16;
const MAX_MARGIN: Duration = Duration::from_secs(1);

/// How a worker drains.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// When all sessions should have ended.
    pub(crate) until: Instant,
    /// From 0 to 1, different for each worker, so that workers take turns at ending sessions.
    pub(crate) offset: f64,
}

/// Ends all sessions evenly until the given time, including those that begin during the drain.
/// Handshakes continue.
pub(crate) fn drain(context: &Rc<WorkerContext>, drain: Drain) {
    spawn_local(end_evenly(context.clone(), drain));
}

async fn end_evenly(context: Rc<WorkerContext>, Drain { until, offset }: Drain) {
    let (own, all) = (context.sessions.len(), context.limiter.open() as usize);
    let mut pace = DrainPace::new(context.reactor.now(), until, offset * others(own, all));
    let mut queue = SessionsByAge::default();
    // At the end of the drain, `end_all_sessions` ends the rest.
    while context.ending.get().is_none() {
        let left = context.sessions.len();
        let due = pace.due(left, context.reactor.now());
        if due > 0 && queue.is_empty() {
            queue = all_by_age(&context).await;
        }
        let mut ended = 0;
        let not_ending = |session: &ActiveSession| session.counters.end_requested.get().is_none();
        while ended < due.min(MAX_ENDS_PER_TURN)
            && find_oldest(&mut queue, &context.sessions, not_ending)
        {
            end_oldest(&mut queue, &context.sessions, |_| EndCause::Drain);
            ended += 1;
        }
        pace.ended(ended);
        if ended < due {
            context.reactor.turn.walks.turn().await;
        } else {
            let pause = pace.pause(left - ended).min(PACE_INTERVAL);
            sleep(&context.reactor, pause).await;
        }
    }
}

/// The other workers' share of all connections.
fn others(own: usize, all: usize) -> f64 {
    1.0 - own as f64 / all.max(own).max(1) as f64
}

async fn all_by_age(context: &WorkerContext) -> SessionsByAge {
    let mut queue = SessionsByAge::default();
    walk(context, |session| {
        queue.push(session.by_age());
        VISIT_COST
    })
    .await;
    queue
}

/// Spreads the ends of sessions over the remaining time, while the number of sessions changes.
#[derive(Debug)]
struct DrainPace {
    until: Instant,
    /// When `due` was last computed.
    at: Instant,
    /// Sessions due at that time; the fraction is the elapsed part of the next session's interval.
    due: f64,
    /// How much earlier each session ends than it would without other workers, in intervals.
    offset: f64,
}

impl DrainPace {
    fn new(now: Instant, until: Instant, offset: f64) -> Self {
        let time = until.saturating_duration_since(now);
        let margin = (time / MARGIN_DIVISOR).min(MAX_MARGIN);
        Self { until: now + time.saturating_sub(margin), at: now, due: offset, offset }
    }

    /// How many of the remaining sessions should have ended by now.
    fn due(&mut self, left: usize, now: Instant) -> usize {
        let all = left as f64;
        let time = self.until.saturating_duration_since(self.at);
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        // The number of sessions falls linearly to zero at the end.
        self.due = if passed < time {
            let share = passed.as_secs_f64() / time.as_secs_f64();
            (self.due + (all + self.offset - self.due) * share).min(all)
        } else {
            all
        };
        self.due as usize
    }

    /// Subtracts the sessions that were ended from those that are due.
    fn ended(&mut self, count: usize) {
        self.due -= count as f64;
    }

    /// The time until the next session is due, if the number of sessions stays the same.
    fn pause(&self, left: usize) -> Duration {
        if left == 0 {
            return PACE_INTERVAL;
        }
        let time = self.until.saturating_duration_since(self.at);
        let share = (1.0 - self.due) / (left as f64 + self.offset - self.due);
        time.mul_f64(share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which `count` sessions end if the pace is computed again at least every
    /// `step`.
    fn ends(count: usize, offset: f64, step: Duration) -> Vec<f64> {
        let start = Instant::now();
        let mut pace = DrainPace::new(start, start + Duration::from_secs(17), offset);
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

    /// Ends are even however often the pace is computed, with a margin of a second at the end.
    #[test]
    fn ends_are_even() {
        for step in [1, 70, 1000, 60_000].map(Duration::from_millis) {
            for count in [1, 2, 13, 640] {
                let wanted = |k: usize| 16.0 * k as f64 / count as f64;
                assert_near(&ends(count, 0.0, step), (1..=count).map(wanted));
            }
        }
    }

    /// Three workers with five sessions each: fifteen evenly spaced ends.
    #[test]
    fn workers_take_turns() {
        let offsets = [0.0, 0.5, 1.0].map(|offset| offset * others(5, 15));
        let mut all: Vec<_> =
            offsets.iter().flat_map(|offset| ends(5, *offset, PACE_INTERVAL)).collect();
        all.sort_by(f64::total_cmp);
        assert_near(&all, (1..=15).map(|k| 16.0 * f64::from(k) / 15.0));
        // A worker that has all sessions uses the whole time.
        assert_near(&ends(1, others(1, 1), PACE_INTERVAL), [16.0].into_iter());
    }

    /// Sessions that begin late cause no burst, and sessions that end by themselves leave no gap.
    #[test]
    fn the_number_of_sessions_changes() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pace = DrainPace::new(start, at(17), 0.0);
        assert_eq!(pace.due(1, at(8)), 0);
        // Half of the time has passed for the first session, and no time for the other 99.
        assert_eq!(pace.due(100, at(8)), 0);
        assert!(pace.pause(100) < Duration::from_millis(50));
        assert_eq!(pace.due(100, at(12)), 50);
        pace.ended(50);
        // 40 of the remaining 50 sessions end by themselves.
        assert_eq!(pace.due(10, at(12)), 0);
        assert!(pace.pause(10) <= Duration::from_millis(400), "{:?}", pace.pause(10));
        assert_eq!(pace.due(10, at(14)), 5);
        assert_eq!(pace.due(10, at(16)), 10);
        pace.ended(10);
        assert_eq!(pace.due(0, at(16)), 0);
        assert_eq!(pace.due(3, at(16)), 3);
    }

    #[test]
    fn a_drain_without_time_ends_all_at_once() {
        let now = Instant::now();
        let mut pace = DrainPace::new(now, now, 0.5);
        assert_eq!(pace.due(4, now), 4);
        pace.ended(4);
        assert_eq!(pace.due(0, now), 0);
        assert_eq!(pace.pause(0), PACE_INTERVAL);
    }
}
