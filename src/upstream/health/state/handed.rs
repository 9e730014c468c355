//! The ejections of a broker, as another process takes them over: times as how long ago they were.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    HealthState,
    breaker::{CircuitBreaker, CircuitState},
};

/// The last ejection, and how many there were in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedEjection {
    ejections: u32,
    circuit: HandedCircuit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HandedCircuit {
    /// The ejection began so many milliseconds ago.
    Ejected(u64),
    HalfOpen,
    /// It ended so many milliseconds ago.
    Recovered(u64),
}

impl HealthState {
    /// `None` if it has not been ejected since its start.
    pub(crate) fn hand_over_ejection(&self, now: Instant) -> Option<HandedEjection> {
        let CircuitBreaker { circuit, ejections, recovered, .. } = self.breaker.as_ref()?;
        let circuit = match (circuit, recovered) {
            (CircuitState::Ejected { since }, _) => HandedCircuit::Ejected(millis_ago(*since, now)),
            (CircuitState::HalfOpen, _) => HandedCircuit::HalfOpen,
            (CircuitState::Closed, Some(at)) => HandedCircuit::Recovered(millis_ago(*at, now)),
            (CircuitState::Closed, None) => return None,
        };
        Some(HandedEjection { ejections: *ejections, circuit })
    }

    /// Goes on with the ejection of another process, if failures eject brokers.
    pub(crate) fn take_over_ejection(&mut self, handed: &HandedEjection, now: Instant) {
        let Some(breaker) = &mut self.breaker else { return };
        breaker.ejections = handed.ejections;
        match handed.circuit {
            HandedCircuit::Ejected(ago) => {
                breaker.circuit = CircuitState::Ejected { since: before(now, ago) };
            }
            HandedCircuit::HalfOpen => breaker.circuit = CircuitState::HalfOpen,
            HandedCircuit::Recovered(ago) => breaker.recovered = Some(before(now, ago)),
        }
    }
}

/// How long ago, in milliseconds.
pub(crate) fn millis_ago(at: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(at).as_millis().try_into().unwrap_or(u64::MAX)
}

/// The time so many milliseconds ago, as far as the clock goes back.
pub(crate) fn before(now: Instant, millis: u64) -> Instant {
    now.checked_sub(Duration::from_millis(millis)).unwrap_or(now)
}
