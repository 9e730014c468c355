//! The effects of a change to a pool's state, applied once the state's lock is free.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::members::WeightLimitExceeded;
use crate::upstream::health::BrokerState;

/// Lines for the program's log, and signals to the workers.
#[derive(Default)]
pub(super) struct PoolEffects {
    pub(super) events: Vec<PoolEvent>,
    /// Whether a broker has gone down.
    pub(super) went_down: bool,
    /// Whether clients now belong to a different broker.
    pub(super) moved: bool,
}

/// A change that is logged.
pub(super) enum PoolEvent {
    StateSet { upstream: Arc<str>, state: BrokerState },
    WeightSet { upstream: Arc<str>, weight: NonZeroU32 },
    WeightDiscarded { upstream: Arc<str>, weight: NonZeroU32 },
    WeightsDiscarded(WeightLimitExceeded),
    DiscoveredIgnored(WeightLimitExceeded),
    CheckedUp { upstream: Arc<str> },
    CheckedDown { upstream: Arc<str>, error: String, fall: NonZeroU32 },
    SessionsHeld { upstream: Arc<str> },
    DownConfirmed { upstream: Arc<str> },
    Ejected { upstream: Arc<str>, span: Duration },
    Recovered { upstream: Arc<str>, by: &'static str },
    FailingOpen { bad: usize, count: usize },
    FailingClosed,
    ServesNobody { refused: u64, errors: String },
    StillServesNobody { refused: u64, span: Duration, error: String },
    ServesAgain { by: &'static str, refused: u64, span: Duration },
}

impl PoolEvent {
    pub(super) fn log(&self, pool: &Arc<str>) {
        match self {
            Self::StateSet { upstream, state } => {
                tracing::info!(%pool, %upstream, ?state, "set by the operator");
            }
            Self::WeightSet { upstream, weight } => {
                tracing::info!(%pool, %upstream, weight, "set by the operator");
            }
            Self::WeightDiscarded { upstream, weight } => tracing::info!(
                %pool, %upstream,
                "discarded the operator's weight {weight}: the configured weight has changed"
            ),
            Self::WeightsDiscarded(error) => {
                tracing::warn!(%pool, "discarded the operator's weights: {error}");
            }
            Self::DiscoveredIgnored(error) => tracing::warn!(
                %pool, "ignoring the brokers found in DNS until the next answer: {error}"
            ),
            Self::CheckedUp { upstream } => {
                tracing::info!(%pool, %upstream, "up: its checks succeed again");
            }
            Self::CheckedDown { upstream, error, fall } => {
                tracing::warn!(%pool, %upstream, error, "down: {fall} checks have failed");
            }
            Self::SessionsHeld { upstream } => tracing::info!(
                %pool, %upstream,
                "keeping its sessions until checks show that the other brokers do not have the same \
                 fault"
            ),
            Self::DownConfirmed { upstream } => tracing::warn!(
                %pool, %upstream,
                "down while the checks of other brokers succeed: ending its sessions (on_down)"
            ),
            Self::Ejected { upstream, span } => tracing::warn!(
                %pool, %upstream, "ejected for {span:?}: it failed clients that others accepted"
            ),
            Self::Recovered { upstream, by } => {
                tracing::info!(%pool, %upstream, "back from ejection: {by}");
            }
            Self::FailingOpen { bad, count } => tracing::error!(
                %pool,
                "{bad} of {count} brokers look down, which is more likely a fault of the checks or \
                 the network: trying them all (health.fail_open_percent)"
            ),
            Self::FailingClosed => {
                tracing::info!(%pool, "enough brokers are up again: the checks are trusted again");
            }
            Self::ServesNobody { refused, errors } => tracing::error!(
                %pool, refused, errors,
                "serves nobody: no broker answers; probing them until one does"
            ),
            Self::StillServesNobody { refused, span, error } => tracing::error!(
                %pool, refused, seconds = span.as_secs(), error, "still serves nobody"
            ),
            Self::ServesAgain { by, refused, span } => tracing::info!(
                %pool, refused, seconds = span.as_secs(), "serves again: {by}"
            ),
        }
    }
}
