//! The circuit breaker of one broker: failed clients eject the broker for a while.

use std::time::{Duration, Instant};

use crate::config::Passive;

/// The longest ejection of a broker that is ejected repeatedly, unless `eject_for` is longer. Envoy
/// also uses five minutes.
const MAX_EJECTION: Duration = Duration::from_mins(5);

/// What a probe or an answer changes about a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthChange {
    None,
    /// The verdict of the checks has changed.
    Verdict,
    /// An ejection has ended for good.
    Recovered,
    /// It is healthy, and clients that it has recently failed are on other brokers.
    Displaced,
}

/// A circuit breaker (Nygard, "Release It!"). After an ejection, a single client serves as the
/// trial.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    pub(super) circuit: CircuitState,
    failures: u32,
    /// When the first of `failures` happened.
    failing_since: Option<Instant>,
    /// The number of successive ejections.
    pub(super) ejections: u32,
    /// When the last ejection ended for good.
    pub(super) recovered: Option<Instant>,
    /// When it last failed a client that no other broker accepted.
    lone_failure: Option<Instant>,
    /// Whether clients have gone to other brokers because of this one since it last answered a
    /// client.
    pub(super) displaced: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CircuitState {
    #[default]
    Closed,
    Ejected {
        since: Instant,
    },
    HalfOpen,
}

impl CircuitBreaker {
    /// Counts a client that the broker failed; true if there are enough to eject it.
    pub(super) fn record_failure(&mut self, now: Instant, passive: &Passive) -> bool {
        self.displaced = true;
        match self.circuit {
            CircuitState::Ejected { .. } => false,
            CircuitState::HalfOpen => true,
            CircuitState::Closed => {
                let since = *self.failing_since.get_or_insert(now);
                if now.saturating_duration_since(since) > passive.window {
                    (self.failures, self.failing_since) = (0, Some(now));
                }
                self.failures = self.failures.saturating_add(1);
                self.failures >= passive.failures.get()
            }
        }
    }

    /// Records that it failed a client that no other broker accepted. True if this counts, which it
    /// does if another broker has `answered` a client since the last such failure.
    pub(super) fn record_lone_failure(
        &mut self,
        now: Instant,
        passive: &Passive,
        answered: Option<Instant>,
    ) -> bool {
        let last = self.lone_failure.replace(now);
        let last = last.filter(|at| now.saturating_duration_since(*at) <= passive.window);
        last.is_some_and(|last| answered.is_some_and(|at| at > last))
    }

    /// Ejects the broker, and returns for how long.
    pub(super) fn eject(&mut self, now: Instant, passive: &Passive) -> Duration {
        // The broker was healthy for at least as long as the last ejection: reset the back-off.
        if let Some(recovered) = self.recovered.take()
            && now.saturating_duration_since(recovered) > self.span(passive)
        {
            self.ejections = 0;
        }
        self.ejections += 1;
        self.clear_failures();
        self.circuit = CircuitState::Ejected { since: now };
        self.span(passive)
    }

    /// The length of the last ejection under the current configuration.
    fn span(&self, passive: &Passive) -> Duration {
        let before = self.ejections.saturating_sub(1).min(16);
        let doubled = passive.eject_for.saturating_mul(1 << before);
        doubled.min(MAX_EJECTION.max(passive.eject_for))
    }

    /// Whether the time of the current ejection is over.
    pub(super) fn has_ended(&self, now: Instant, passive: &Passive) -> bool {
        let CircuitState::Ejected { since } = self.circuit else { return false };
        now.saturating_duration_since(since) >= self.span(passive)
    }

    /// Records that a client was answered.
    pub(super) fn record_success(&mut self, now: Instant) -> HealthChange {
        let displaced = std::mem::take(&mut self.displaced);
        self.clear_failures();
        match self.circuit {
            CircuitState::HalfOpen => {
                self.close(now);
                HealthChange::Recovered
            }
            CircuitState::Closed if displaced => HealthChange::Displaced,
            CircuitState::Closed | CircuitState::Ejected { .. } => HealthChange::None,
        }
    }

    /// Ends the ejection for good.
    pub(super) fn close(&mut self, now: Instant) {
        self.circuit = CircuitState::Closed;
        self.recovered = Some(now);
        self.clear_failures();
    }

    /// Whether the next answer to a client changes anything.
    pub(super) fn is_suspect(&self) -> bool {
        self.displaced || self.lone_failure.is_some()
    }

    fn clear_failures(&mut self) {
        (self.failures, self.failing_since, self.lone_failure) = (0, None, None);
    }
}
