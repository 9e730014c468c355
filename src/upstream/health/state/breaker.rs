//! The circuit breaker of one broker: clients that it fails eject it for a while.

use std::time::{Duration, Instant};

use super::News;
use crate::config::Passive;

/// The longest ejection of a broker that is ejected again and again, unless `eject_for` is longer:
/// five minutes are what Envoy takes.
const LONGEST_EJECTION: Duration = Duration::from_mins(5);

/// A circuit breaker (Nygard, "Release It!").
#[derive(Debug, Default)]
pub(super) struct Breaker {
    pub(super) circuit: Circuit,
    failures: u32,
    /// The first of `failures`.
    failing_since: Option<Instant>,
    /// Ejections that followed on each other.
    ejections: u32,
    /// When the last ejection was over for good.
    recovered: Option<Instant>,
    /// When it last failed a client that no other broker took.
    lone_failure: Option<Instant>,
    /// Clients have gone elsewhere because of it, since it last answered one.
    pub(super) displaced: bool,
}

/// After an ejection one client is the trial for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::upstream) enum Circuit {
    #[default]
    Closed,
    Ejected {
        since: Instant,
    },
    HalfOpen,
}

impl Breaker {
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

    /// Notes that it failed a client that no other broker took; true if that counts, which it does
    /// where another one has `answered` a client since the last time.
    pub(super) fn failed_alone(
        &mut self,
        now: Instant,
        passive: &Passive,
        answered: Option<Instant>,
    ) -> bool {
        let last = self.lone_failure.replace(now);
        let last = last.filter(|at| now.saturating_duration_since(*at) <= passive.window);
        last.is_some_and(|last| answered.is_some_and(|at| at > last))
    }

    pub(super) fn eject(&mut self, now: Instant, passive: &Passive) -> Duration {
        // It has been well for as long as it was away: what happens now is another matter.
        if let Some(recovered) = self.recovered.take()
            && now.saturating_duration_since(recovered) > self.span(passive)
        {
            self.ejections = 0;
        }
        self.ejections += 1;
        self.forget_failures();
        self.circuit = Circuit::Ejected { since: now };
        self.span(passive)
    }

    /// How long the last ejection lasts, by the configuration as it is now.
    fn span(&self, passive: &Passive) -> Duration {
        let before = self.ejections.saturating_sub(1).min(16);
        let doubled = passive.eject_for.saturating_mul(1 << before);
        doubled.min(LONGEST_EJECTION.max(passive.eject_for))
    }

    /// Whether it is ejected, and the time of that is over.
    pub(super) fn ends_by(&self, now: Instant, passive: &Passive) -> bool {
        let Circuit::Ejected { since } = self.circuit else { return false };
        now.saturating_duration_since(since) >= self.span(passive)
    }

    pub(super) fn answered(&mut self, now: Instant) -> News {
        let displaced = std::mem::take(&mut self.displaced);
        self.forget_failures();
        match self.circuit {
            Circuit::HalfOpen => {
                self.close(now);
                News::Recovered
            }
            Circuit::Closed if displaced => News::Displaced,
            Circuit::Closed | Circuit::Ejected { .. } => News::None,
        }
    }

    /// Ends the ejection for good.
    pub(super) fn close(&mut self, now: Instant) {
        self.circuit = Circuit::Closed;
        self.recovered = Some(now);
        self.forget_failures();
    }

    /// Whether the next client that is answered changes anything.
    pub(super) fn is_suspect(&self) -> bool {
        self.displaced || self.lone_failure.is_some()
    }

    fn forget_failures(&mut self) {
        (self.failures, self.failing_since, self.lone_failure) = (0, None, None);
    }
}
