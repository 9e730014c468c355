//! What is thought of one broker: the operator's word, the checks' verdict, and what clients met with.
//!
//! Without a clock of its own: every call is told the time.

use std::time::{Duration, Instant};

use crate::config::{ActiveCheck, Passive, Probe};

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
    /// Clients have gone elsewhere because of it, since it last answered one.
    displaced: bool,
    /// Good probes in a row since the ejection's time was over.
    good_probes: u32,
}

/// What a probe or an answer makes of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// The checks' verdict has turned.
    Verdict,
    /// An ejection is over for good.
    Recovered,
    /// It is well, and clients that it failed a moment ago are elsewhere.
    Displaced,
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
    /// Nothing is known any more but what the operator wants.
    pub(super) fn forget(&mut self) {
        *self = Self { state: self.state, ..Self::default() };
    }

    /// Counts a probe.
    pub(super) fn probed(&mut self, good: bool, check: &ActiveCheck, now: Instant) -> News {
        if !good {
            self.good_probes = 0;
        }
        if good == self.checked_down {
            self.contradictions += 1;
            let enough = if good { check.rise } else { check.fall };
            if self.contradictions >= enough.get() {
                self.checked_down = !good;
                self.contradictions = 0;
                return News::Verdict;
            }
            return News::None;
        }
        self.contradictions = 0;
        // That something listens says nothing of whether it would answer.
        if !good || matches!(check.probe, Probe::Tcp) {
            return News::None;
        }
        if self.circuit == Circuit::HalfOpen {
            self.good_probes += 1;
            let enough = self.good_probes >= check.rise.get();
            return if enough { self.answered(now) } else { News::None };
        }
        let displaced = self.circuit == Circuit::Closed && std::mem::take(&mut self.displaced);
        if displaced { News::Displaced } else { News::None }
    }

    /// Counts a client that the broker failed; true if that is enough to eject it.
    pub(super) fn failed(&mut self, now: Instant, passive: &Passive) -> bool {
        self.displaced = true;
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

    /// Notes that a client has gone elsewhere because of it, though that does not count as a failure.
    pub(super) fn displaced(&mut self) {
        self.displaced = true;
    }

    /// A client was answered.
    pub(super) fn answered(&mut self, now: Instant) -> News {
        let displaced = std::mem::take(&mut self.displaced);
        self.forget_failures();
        match self.circuit {
            Circuit::HalfOpen => {
                self.circuit = Circuit::Closed;
                self.recovered = Some(now);
                News::Recovered
            }
            Circuit::Closed if displaced => News::Displaced,
            Circuit::Closed | Circuit::Ejected { .. } => News::None,
        }
    }

    /// Lets the next client try once an ejection's time is over; true if it is just now.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let over = matches!(self.circuit, Circuit::Ejected { until } if until <= now);
        if over {
            self.circuit = Circuit::HalfOpen;
            self.good_probes = 0;
        }
        over
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Whether the next client is to show whether it is well.
    pub(super) fn awaits_trial(&self) -> bool {
        self.circuit == Circuit::HalfOpen && !self.checked_down
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
        self.displaced || self.circuit != Circuit::Closed
    }

    fn forget_failures(&mut self) {
        (self.failures, self.failing_since) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const PASSIVE: Passive = Passive {
        failures: NonZeroU32::new(3).unwrap(),
        window: Duration::from_secs(30),
        eject_for: Duration::from_secs(10),
        max_ejected_percent: 50,
    };

    fn check(probe: Probe) -> ActiveCheck {
        ActiveCheck {
            probe,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: NonZeroU32::new(2).unwrap(),
            fall: NonZeroU32::new(3).unwrap(),
        }
    }

    fn at(seconds: u64) -> Instant {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_verdict_takes_rise_and_fall_probes_in_a_row() {
        let check = check(Probe::Tcp);
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
            let news = if turned { News::Verdict } else { News::None };
            assert_eq!(broker.probed(good, &check, at(0)), news, "probe {n}");
        }
        assert!(broker.looks_up());
    }

    #[test]
    fn failures_count_in_a_row_and_within_the_window() {
        let mut broker = Condition::default();
        assert!(!broker.failed(at(0), &PASSIVE));
        assert!(!broker.failed(at(1), &PASSIVE));
        assert_eq!(broker.answered(at(2)), News::Displaced);
        assert_eq!(broker.answered(at(2)), News::None);
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
        assert_eq!(broker.answered(at(now)), News::Recovered);
        assert!(broker.looks_up());
        assert_eq!(broker.eject(at(now + 299), &PASSIVE), LONGEST_EJECTION);
        now += 299 + 300;
        broker.tick(at(now));
        broker.answered(at(now));
        assert_eq!(broker.eject(at(now + 301), &PASSIVE), Duration::from_secs(10));
    }
    /// A probe that the broker answers is as good as a client, but for one that only connects.
    #[test]
    fn probes_end_an_ejection_and_tell_of_displaced_clients() {
        let mqtt = Probe::Mqtt { username: None, password: None, expect: vec![0] };
        for (probe, last) in
            [(mqtt, [News::Recovered, News::Displaced]), (Probe::Tcp, [News::None; 2])]
        {
            let check = check(probe);
            let mut broker = Condition::default();
            broker.eject(at(0), &PASSIVE);
            assert_eq!(broker.probed(true, &check, at(9)), News::None);
            broker.tick(at(10));
            assert_eq!(broker.probed(true, &check, at(11)), News::None);
            assert_eq!(broker.probed(false, &check, at(12)), News::None);
            assert_eq!(broker.probed(true, &check, at(13)), News::None);
            assert_eq!(broker.probed(true, &check, at(14)), last[0]);
            let mut broker = Condition::default();
            broker.failed(at(0), &PASSIVE);
            assert_eq!(broker.probed(true, &check, at(1)), last[1]);
            assert_eq!(broker.probed(true, &check, at(2)), News::None);
            // The failure still counts: what a probe meets with is not what a client meets with.
            broker.failed(at(3), &PASSIVE);
            assert!(broker.failed(at(4), &PASSIVE));
        }
    }
}
