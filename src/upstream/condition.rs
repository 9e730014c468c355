//! What is thought of one broker: the operator's word, the checks' verdict, and what clients met with.
//!
//! Without a clock of its own: every call is told the time.

use std::time::{Duration, Instant};

use crate::config::{ActiveCheck, Passive};

/// What the operator wants of a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Ready,
    /// It is given no new sessions and keeps those it has, unless the pool rebalances.
    Draining,
    /// As if the checks had found it down.
    Down,
}

/// A broker that is ejected again and again stays away for this long at most, or for `eject_for`
/// where that is longer: five minutes are what Envoy takes.
const LONGEST_EJECTION: Duration = Duration::from_mins(5);

/// One broker, judged.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) state: State,
    checked_down: bool,
    /// Probes in a row that contradict the verdict.
    contradictions: u32,
    circuit: Circuit,
    failures: u32,
    /// The first of `failures`.
    failing_since: Option<Instant>,
    /// Ejections that followed on each other.
    ejections: u32,
    /// When the last ejection was over for good.
    recovered: Option<Instant>,
}

/// A circuit breaker (Nygard, "Release It!"): after an ejection one client is the trial for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Circuit {
    #[default]
    Closed,
    Ejected {
        until: Instant,
    },
    HalfOpen,
}

impl Condition {
    /// Counts a probe; true if it turned the verdict.
    pub(super) fn probed(&mut self, good: bool, check: &ActiveCheck) -> bool {
        if good != self.checked_down {
            self.contradictions = 0;
            return false;
        }
        self.contradictions += 1;
        let enough = if good { check.rise } else { check.fall };
        let turned = self.contradictions >= enough.get();
        if turned {
            self.checked_down = !good;
            self.contradictions = 0;
        }
        turned
    }

    /// Counts a client that the broker failed; true if that is enough to eject it.
    pub(super) fn failed(&mut self, now: Instant, passive: &Passive) -> bool {
        match self.circuit {
            Circuit::Ejected { .. } => false,
            Circuit::HalfOpen => true,
            Circuit::Closed => {
                let since = *self.failing_since.get_or_insert(now);
                if now.saturating_duration_since(since) > passive.window {
                    (self.failures, self.failing_since) = (0, Some(now));
                }
                self.failures = self.failures.saturating_add(1);
                self.failures >= passive.failures.get()
            }
        }
    }

    /// Ejects it, each time that follows on another for twice as long. Returns for how long.
    pub(super) fn eject(&mut self, now: Instant, passive: &Passive) -> Duration {
        let span = |ejections: u32| {
            let doubled = passive.eject_for.saturating_mul(1 << ejections.min(16));
            doubled.min(LONGEST_EJECTION.max(passive.eject_for))
        };
        // Good for as long as it was away: what happens now is another matter.
        if let Some(recovered) = self.recovered.take()
            && now.saturating_duration_since(recovered) > span(self.ejections.saturating_sub(1))
        {
            self.ejections = 0;
        }
        let span = span(self.ejections);
        self.ejections += 1;
        self.forget_failures();
        self.circuit = Circuit::Ejected { until: now + span };
        span
    }

    /// A client was answered; true if that ends an ejection.
    pub(super) fn succeeded(&mut self, now: Instant) -> bool {
        self.forget_failures();
        let was_trial = self.circuit == Circuit::HalfOpen;
        if was_trial {
            self.circuit = Circuit::Closed;
            self.recovered = Some(now);
        }
        was_trial
    }

    /// Lets the next client try once an ejection's time is over; true if it is just now.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let over = matches!(self.circuit, Circuit::Ejected { until } if until <= now);
        if over {
            self.circuit = Circuit::HalfOpen;
        }
        over
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.circuit
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.circuit != Circuit::Closed
    }

    pub(super) fn is_checked_down(&self) -> bool {
        self.checked_down
    }

    /// Whether checks and clients have nothing against it.
    pub(super) fn looks_up(&self) -> bool {
        !self.checked_down && self.circuit == Circuit::Closed
    }

    /// Whether the next good answer would change anything.
    pub(super) fn is_suspect(&self) -> bool {
        self.failures > 0 || self.circuit != Circuit::Closed
    }

    fn forget_failures(&mut self) {
        (self.failures, self.failing_since) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::Probe;

    const PASSIVE: Passive = Passive {
        failures: NonZeroU32::new(3).unwrap(),
        window: Duration::from_secs(30),
        eject_for: Duration::from_secs(10),
        max_ejected_percent: 50,
    };

    fn at(seconds: u64) -> Instant {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_verdict_takes_rise_and_fall_probes_in_a_row() {
        let check = ActiveCheck {
            probe: Probe::Tcp,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: NonZeroU32::new(2).unwrap(),
            fall: NonZeroU32::new(3).unwrap(),
        };
        let mut broker = Condition::default();
        let probes = [
            (false, false),
            (false, false),
            (true, false),
            (false, false),
            (false, false),
            (false, true),
            (false, false),
            (true, false),
            (false, false),
            (true, false),
            (true, true),
            (true, false),
        ];
        for (n, (good, turned)) in probes.into_iter().enumerate() {
            assert_eq!(broker.probed(good, &check), turned, "probe {n}");
        }
        assert!(broker.looks_up());
    }

    #[test]
    fn failures_count_in_a_row_and_within_the_window() {
        let mut broker = Condition::default();
        assert!(!broker.failed(at(0), &PASSIVE));
        assert!(!broker.failed(at(1), &PASSIVE));
        assert!(!broker.succeeded(at(2)));
        assert!(!broker.failed(at(3), &PASSIVE));
        assert!(!broker.failed(at(4), &PASSIVE));
        // The window of the first of them is over: this one starts anew.
        assert!(!broker.failed(at(40), &PASSIVE));
        assert!(!broker.failed(at(41), &PASSIVE));
        assert!(broker.failed(at(42), &PASSIVE));
    }

    #[test]
    fn ejections_back_off_and_end_with_a_trial() {
        let mut broker = Condition::default();
        let mut now = 0;
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(broker.eject(at(now), &PASSIVE), Duration::from_secs(seconds));
            assert!(!broker.looks_up());
            assert!(!broker.failed(at(now), &PASSIVE), "those that were under way do not count");
            assert!(!broker.tick(at(now + seconds - 1)));
            now += seconds;
            assert!(broker.tick(at(now)));
            assert_eq!(broker.circuit(), Circuit::HalfOpen);
            assert!(broker.failed(at(now), &PASSIVE), "one failure is enough now");
        }
        broker.eject(at(now), &PASSIVE);
        now += 300;
        assert!(broker.tick(at(now)));
        assert!(broker.succeeded(at(now)) && broker.looks_up());
        assert_eq!(broker.eject(at(now + 299), &PASSIVE), LONGEST_EJECTION);
        now += 299 + 300;
        broker.tick(at(now));
        broker.succeeded(at(now));
        assert_eq!(broker.eject(at(now + 301), &PASSIVE), Duration::from_secs(10));
    }
}
