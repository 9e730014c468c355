//! The health of one broker: the state set by the operator, the verdict of the checks, and the
//! clients that it answered or failed.
//!
//! Each part exists only while the configuration uses it, so that no verdict outlives its check.
//! There is no clock here: the time is passed to every call.

mod breaker;
mod handed;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use breaker::CircuitBreaker;
pub(crate) use breaker::{CircuitState, HealthChange};
pub(crate) use handed::{HandedEjection, before, millis_ago};

use crate::config::{ActiveCheck, Health, Passive, Probe};

/// The state that an operator sets for a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrokerState {
    #[default]
    Ready,
    /// It gets no new sessions and keeps those it has, unless the pool rebalances.
    Draining,
    /// It is treated as if the checks had found it down.
    Down,
}

/// One broker's health.
#[derive(Debug, Default)]
pub(crate) struct HealthState {
    pub(crate) state: BrokerState,
    /// `None` if there are no active checks.
    checks: Option<ActiveHealth>,
    /// `None` if failures do not eject brokers.
    breaker: Option<CircuitBreaker>,
}

/// The results of the active checks.
#[derive(Debug, Default)]
struct ActiveHealth {
    down: Option<DownVerdict>,
    /// The number of probes in a row that contradict the verdict.
    contradictions: u32,
    /// When the last probe began, if it succeeded.
    last_good: Option<Instant>,
    /// When the last probe began, if it failed.
    last_bad: Option<Instant>,
    /// The number of successive successful probes since the time of the last ejection was over.
    recovery_probes: u32,
}

/// The verdict that a broker is down.
#[derive(Clone, Copy, Debug)]
struct DownVerdict {
    since: Instant,
    /// Checks of other brokers have shown that the fault is not shared, so its sessions may be
    /// ended.
    confirmed: bool,
    /// The verdict may be due to a shared fault, which has been logged.
    held: bool,
    /// The time from which the checks of other brokers have shown that the fault is this broker's
    /// own.
    own_fault_since: Option<Instant>,
}

impl HealthState {
    /// The health of a broker about which nothing is known yet.
    pub(crate) fn new(health: &Health) -> Self {
        let checks = health.active.as_ref().map(|_| ActiveHealth::default());
        let breaker = health.passive.map(|_| CircuitBreaker::default());
        Self { state: BrokerState::Ready, checks, breaker }
    }

    /// Keeps only what `after` still uses. The results of a different probe, for example of another
    /// port, are dropped.
    pub(crate) fn reconfigure(&mut self, before: &Health, after: &Health) {
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

    /// Drops everything except the operator's state: results for one address do not apply to
    /// another.
    pub(crate) fn reset(&mut self, health: &Health) {
        *self = Self { state: self.state, ..Self::new(health) };
    }

    /// Counts a probe that began at `began`.
    pub(crate) fn record_probe(
        &mut self,
        good: bool,
        check: &ActiveCheck,
        began: Instant,
        now: Instant,
    ) -> HealthChange {
        let Some(checks) = &mut self.checks else { return HealthChange::None };
        if checks.record_probe(good, check, began, now) {
            if let Some(breaker) = &mut self.breaker
                && good
                && breaker.circuit != CircuitState::Closed
            {
                // It was down and is up again, so an earlier ejection says no more than the checks.
                breaker.close(now);
            }
            return HealthChange::Verdict;
        }
        // A listening port does not show that the broker would answer.
        if !good || checks.down.is_some() || matches!(check.probe, Probe::Tcp) {
            return HealthChange::None;
        }
        let Some(breaker) = &mut self.breaker else { return HealthChange::None };
        match breaker.circuit {
            CircuitState::HalfOpen => {
                checks.recovery_probes += 1;
                let enough = checks.recovery_probes >= check.rise.get();
                if enough { breaker.record_success(now) } else { HealthChange::None }
            }
            CircuitState::Closed if std::mem::take(&mut breaker.displaced) => {
                HealthChange::Displaced
            }
            CircuitState::Closed | CircuitState::Ejected { .. } => HealthChange::None,
        }
    }

    /// Counts a client that the broker failed; true if there are enough to eject it.
    pub(crate) fn record_failure(&mut self, now: Instant, passive: &Passive) -> bool {
        self.breaker.as_mut().is_some_and(|breaker| breaker.record_failure(now, passive))
    }

    /// Records that it failed a client that no other broker accepted; `answered` is when another
    /// broker last answered a client. True if it counts as a [failure](Self::record_failure).
    pub(crate) fn record_lone_failure(
        &mut self,
        now: Instant,
        passive: &Passive,
        answered: Option<Instant>,
    ) -> bool {
        let breaker = self.breaker.as_mut();
        breaker.is_some_and(|breaker| breaker.record_lone_failure(now, passive, answered))
    }

    /// Ejects the broker, for twice as long after each successive ejection. Returns the duration.
    pub(crate) fn eject(&mut self, now: Instant, passive: &Passive) -> Duration {
        self.breaker.as_mut().map_or(Duration::ZERO, |breaker| breaker.eject(now, passive))
    }

    /// Records that a client went to another broker because of this one, without a failure.
    pub(crate) fn record_displaced(&mut self) {
        if let Some(breaker) = &mut self.breaker {
            breaker.displaced = true;
        }
    }

    /// Records that a client was answered.
    pub(crate) fn record_success(&mut self, now: Instant) -> HealthChange {
        self.breaker.as_mut().map_or(HealthChange::None, |breaker| breaker.record_success(now))
    }

    /// Lets one client try the broker once the time of an ejection is over; true if it has just
    /// ended.
    pub(crate) fn tick(&mut self, now: Instant, passive: Option<&Passive>) -> bool {
        let (Some(breaker), Some(passive)) = (&mut self.breaker, passive) else { return false };
        let over = breaker.has_ended(now, passive);
        if over {
            breaker.circuit = CircuitState::HalfOpen;
            if let Some(checks) = &mut self.checks {
                checks.recovery_probes = 0;
            }
        }
        over
    }

    /// Records that the checks of other brokers show that the fault is this broker's own. Confirms
    /// the verdict, and returns true, once a check that began later has failed as well: even a
    /// shared fault ends on one broker after the other.
    pub(crate) fn confirm_down(&mut self, now: Instant) -> bool {
        let Some(ActiveHealth { down: Some(down), last_bad, .. }) = &mut self.checks else {
            return false;
        };
        let since = *down.own_fault_since.get_or_insert(now);
        down.confirmed = last_bad.is_some_and(|began| began >= since);
        down.confirmed
    }

    /// Records that its verdict may be due to a shared fault; true the first time.
    pub(crate) fn hold_down(&mut self) -> bool {
        match &mut self.checks {
            Some(ActiveHealth { down: Some(down), .. }) => {
                down.own_fault_since = None;
                !std::mem::replace(&mut down.held, true)
            }
            _ => false,
        }
    }

    /// When its last successful probe began, if both checks and clients find it up.
    pub(crate) fn healthy_since(&self) -> Option<Instant> {
        self.checks.as_ref()?.last_good.filter(|_| self.looks_up())
    }

    /// The time from which the checks have found it down, if the verdict has not been confirmed.
    pub(crate) fn unconfirmed_since(&self) -> Option<Instant> {
        self.down().filter(|down| !down.confirmed).map(|down| down.since)
    }

    pub(crate) fn is_confirmed_down(&self) -> bool {
        self.down().is_some_and(|down| down.confirmed)
    }

    pub(crate) fn is_checked_down(&self) -> bool {
        self.down().is_some()
    }

    pub(crate) fn circuit(&self) -> CircuitState {
        self.breaker.as_ref().map_or(CircuitState::Closed, |breaker| breaker.circuit)
    }

    /// Whether the next client is its trial.
    pub(crate) fn awaits_trial(&self) -> bool {
        self.circuit() == CircuitState::HalfOpen && !self.is_checked_down()
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.circuit() != CircuitState::Closed
    }

    /// Whether both checks and clients find it up.
    pub(crate) fn looks_up(&self) -> bool {
        !self.is_checked_down() && !self.is_ejected()
    }

    /// Whether the next answer to a client would change anything.
    pub(crate) fn is_suspect(&self) -> bool {
        self.is_ejected() || self.breaker.as_ref().is_some_and(CircuitBreaker::is_suspect)
    }

    fn down(&self) -> Option<DownVerdict> {
        self.checks.as_ref()?.down
    }
}

impl DownVerdict {
    fn at(since: Instant) -> Self {
        Self { since, confirmed: false, held: false, own_fault_since: None }
    }
}

impl ActiveHealth {
    /// Counts a probe; true if the verdict has changed.
    fn record_probe(
        &mut self,
        good: bool,
        check: &ActiveCheck,
        began: Instant,
        now: Instant,
    ) -> bool {
        (self.last_good, self.last_bad) =
            if good { (Some(began), None) } else { (None, Some(began)) };
        if !good {
            self.recovery_probes = 0;
        }
        if good != self.down.is_some() {
            self.contradictions = 0;
            return false;
        }
        self.contradictions += 1;
        let enough = if good { check.rise } else { check.fall };
        let turned = self.contradictions >= enough.get();
        if turned {
            self.down = (!good).then_some(DownVerdict::at(now));
            self.contradictions = 0;
        }
        turned
    }
}
