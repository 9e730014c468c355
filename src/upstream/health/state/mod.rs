//! What is known of one broker's health: the operator's word, the checks' verdict, and what clients
//! met with.
//!
//! Each part is there only while the configuration asks for it, so that nothing outlives its check.
//! Without a clock of its own: every call is told the time.

mod breaker;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use breaker::Breaker;
pub(in crate::upstream) use breaker::Circuit;

use crate::config::{ActiveCheck, Health, Passive, Probe};

/// What the operator wants of a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrokerState {
    #[default]
    Ready,
    /// It is given no new sessions and keeps those it has, unless the pool rebalances.
    Draining,
    /// As if the checks had found it down.
    Down,
}

/// One broker's health.
#[derive(Debug, Default)]
pub(in crate::upstream) struct HealthState {
    pub(in crate::upstream) state: BrokerState,
    /// `None`: there are no active checks.
    checks: Option<Checks>,
    /// `None`: clients that it fails eject no broker.
    breaker: Option<Breaker>,
}

/// What the active checks have found.
#[derive(Debug, Default)]
struct Checks {
    down: Option<Down>,
    /// Probes in a row that contradict the verdict.
    contradictions: u32,
    /// When the last probe began, if it was good.
    last_good: Option<Instant>,
    /// When the last probe began, if it was not.
    last_bad: Option<Instant>,
    /// Good probes in a row since an ejection's time was over.
    good_probes: u32,
}

/// The verdict that a broker is down.
#[derive(Clone, Copy, Debug)]
struct Down {
    since: Instant,
    /// The others' checks have shown that it is not a fault of all: its sessions may be ended.
    confirmed: bool,
    /// It has been noted that this is in doubt.
    held: bool,
    /// Since when the others' checks say that it is this broker's own fault.
    own_fault_since: Option<Instant>,
}

/// What a probe or an answer makes of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum News {
    None,
    /// The checks' verdict has turned.
    Verdict,
    /// An ejection is over for good.
    Recovered,
    /// It is well, and clients that it failed a moment ago are elsewhere.
    Displaced,
}

impl HealthState {
    /// That of a broker of which nothing is known yet.
    pub(in crate::upstream) fn new(health: &Health) -> Self {
        let checks = health.active.as_ref().map(|_| Checks::default());
        let breaker = health.passive.map(|_| Breaker::default());
        Self { state: BrokerState::Ready, checks, breaker }
    }

    /// Keeps of what is known only what `after` still asks for. An answer to another question, such
    /// as a probe of another port, says nothing.
    pub(in crate::upstream) fn follow(&mut self, before: &Health, after: &Health) {
        let probe = |health: &Health| health.active.as_ref().map(|check| check.probe.clone());
        let Self { state, checks, breaker } = std::mem::take(self);
        let fresh = Self::new(after);
        let is_same = probe(before) == probe(after);
        *self = Self {
            state,
            checks: fresh.checks.map(|fresh| checks.filter(|_| is_same).unwrap_or(fresh)),
            breaker: fresh.breaker.map(|fresh| breaker.unwrap_or(fresh)),
        };
    }

    /// Forgets all but what the operator wants: what was found at one address says nothing of
    /// another.
    pub(in crate::upstream) fn forget(&mut self, health: &Health) {
        *self = Self { state: self.state, ..Self::new(health) };
    }

    /// Counts a probe that began at `began`.
    pub(in crate::upstream) fn probed(
        &mut self,
        good: bool,
        check: &ActiveCheck,
        began: Instant,
        now: Instant,
    ) -> News {
        let Some(checks) = &mut self.checks else { return News::None };
        if checks.probed(good, check, began, now) {
            if let Some(breaker) = &mut self.breaker
                && good
                && breaker.circuit != Circuit::Closed
            {
                // It was down and is well again: an ejection from before says no more than the checks.
                breaker.close(now);
            }
            return News::Verdict;
        }
        // That something listens says nothing of whether it would answer.
        if !good || checks.down.is_some() || matches!(check.probe, Probe::Tcp) {
            return News::None;
        }
        let Some(breaker) = &mut self.breaker else { return News::None };
        match breaker.circuit {
            Circuit::HalfOpen => {
                checks.good_probes += 1;
                let enough = checks.good_probes >= check.rise.get();
                if enough { breaker.answered(now) } else { News::None }
            }
            Circuit::Closed if std::mem::take(&mut breaker.displaced) => News::Displaced,
            Circuit::Closed | Circuit::Ejected { .. } => News::None,
        }
    }

    /// Counts a client that the broker failed; true if that is enough to eject it.
    pub(in crate::upstream) fn failed(&mut self, now: Instant, passive: &Passive) -> bool {
        self.breaker.as_mut().is_some_and(|breaker| breaker.failed(now, passive))
    }

    /// Notes that it failed a client that no other broker took, of which the last that took any
    /// client did so at `answered`; true if that is to be counted as [`Self::failed`].
    pub(in crate::upstream) fn failed_alone(
        &mut self,
        now: Instant,
        passive: &Passive,
        answered: Option<Instant>,
    ) -> bool {
        let breaker = self.breaker.as_mut();
        breaker.is_some_and(|breaker| breaker.failed_alone(now, passive, answered))
    }

    /// Ejects it, each time that follows on another for twice as long. Returns for how long.
    pub(in crate::upstream) fn eject(&mut self, now: Instant, passive: &Passive) -> Duration {
        self.breaker.as_mut().map_or(Duration::ZERO, |breaker| breaker.eject(now, passive))
    }

    /// Notes that a client has gone elsewhere because of it, though that does not count as a failure.
    pub(in crate::upstream) fn displaced(&mut self) {
        if let Some(breaker) = &mut self.breaker {
            breaker.displaced = true;
        }
    }

    /// A client was answered.
    pub(in crate::upstream) fn answered(&mut self, now: Instant) -> News {
        self.breaker.as_mut().map_or(News::None, |breaker| breaker.answered(now))
    }

    /// Lets the next client try once an ejection's time is over; true if it is just now.
    pub(in crate::upstream) fn tick(&mut self, now: Instant, passive: Option<&Passive>) -> bool {
        let (Some(breaker), Some(passive)) = (&mut self.breaker, passive) else { return false };
        let over = breaker.ends_by(now, passive);
        if over {
            breaker.circuit = Circuit::HalfOpen;
            if let Some(checks) = &mut self.checks {
                checks.good_probes = 0;
            }
        }
        over
    }

    /// Notes that the others' checks say that the fault is this broker's own. The verdict is
    /// confirmed, and true returned, once a check that began later has failed as well: a fault that
    /// all share ends broker by broker, too.
    pub(in crate::upstream) fn confirm_down(&mut self, now: Instant) -> bool {
        let Some(Checks { down: Some(down), last_bad, .. }) = &mut self.checks else {
            return false;
        };
        let since = *down.own_fault_since.get_or_insert(now);
        down.confirmed = last_bad.is_some_and(|began| began >= since);
        down.confirmed
    }

    /// Notes that its verdict may be due to a fault of all; true the first time.
    pub(in crate::upstream) fn hold_down(&mut self) -> bool {
        match &mut self.checks {
            Some(Checks { down: Some(down), .. }) => {
                down.own_fault_since = None;
                !std::mem::replace(&mut down.held, true)
            }
            _ => false,
        }
    }

    /// When its last good probe began, if checks and clients have nothing against it.
    pub(in crate::upstream) fn well_since(&self) -> Option<Instant> {
        self.checks.as_ref()?.last_good.filter(|_| self.looks_up())
    }

    /// Since when the checks hold it to be down, if that has not been confirmed.
    pub(in crate::upstream) fn unconfirmed_since(&self) -> Option<Instant> {
        self.down().filter(|down| !down.confirmed).map(|down| down.since)
    }

    pub(in crate::upstream) fn is_confirmed_down(&self) -> bool {
        self.down().is_some_and(|down| down.confirmed)
    }

    pub(in crate::upstream) fn is_checked_down(&self) -> bool {
        self.down().is_some()
    }

    pub(in crate::upstream) fn circuit(&self) -> Circuit {
        self.breaker.as_ref().map_or(Circuit::Closed, |breaker| breaker.circuit)
    }

    /// Whether the next client is to show whether it is well.
    pub(in crate::upstream) fn awaits_trial(&self) -> bool {
        self.circuit() == Circuit::HalfOpen && !self.is_checked_down()
    }

    pub(in crate::upstream) fn is_ejected(&self) -> bool {
        self.circuit() != Circuit::Closed
    }

    /// Whether checks and clients have nothing against it.
    pub(in crate::upstream) fn looks_up(&self) -> bool {
        !self.is_checked_down() && !self.is_ejected()
    }

    /// Whether the next good answer would change anything.
    pub(in crate::upstream) fn is_suspect(&self) -> bool {
        self.is_ejected() || self.breaker.as_ref().is_some_and(Breaker::is_suspect)
    }

    fn down(&self) -> Option<Down> {
        self.checks.as_ref()?.down
    }
}

impl Down {
    fn at(since: Instant) -> Self {
        Self { since, confirmed: false, held: false, own_fault_since: None }
    }
}

impl Checks {
    /// Counts a probe; true if the verdict has turned.
    fn probed(&mut self, good: bool, check: &ActiveCheck, began: Instant, now: Instant) -> bool {
        (self.last_good, self.last_bad) =
            if good { (Some(began), None) } else { (None, Some(began)) };
        if !good {
            self.good_probes = 0;
        }
        if good != self.down.is_some() {
            self.contradictions = 0;
            return false;
        }
        self.contradictions += 1;
        let enough = if good { check.rise } else { check.fall };
        let turned = self.contradictions >= enough.get();
        if turned {
            self.down = (!good).then_some(Down::at(now));
            self.contradictions = 0;
        }
        turned
    }
}
