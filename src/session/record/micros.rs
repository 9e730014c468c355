//! The compact form of durations in records.

use std::{num::NonZeroU32, time::Duration};

/// A duration within a handshake, in microseconds: at least 1, at most an hour and eleven minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Micros(NonZeroU32);

impl From<Duration> for Micros {
    fn from(duration: Duration) -> Self {
        let micros = duration.as_micros().try_into().unwrap_or(u32::MAX);
        Self(NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN))
    }
}

impl From<Micros> for Duration {
    fn from(micros: Micros) -> Self {
        Self::from_micros(micros.0.get().into())
    }
}
