//! What follows from a change of a pool's state, done once the state's lock is free.

use std::{
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::Pool;
use crate::upstream::{BrokerState, discovery::TooHeavy};

/// Lines for the program's log, and what workers have to look at.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) events: Vec<Event>,
    /// A broker has died.
    pub(super) died: bool,
    /// Clients belong to another broker than before.
    pub(super) moved: bool,
}

/// What an operator is told about a pool.
pub(super) enum Event {
    StateSet { upstream: Arc<str>, state: BrokerState },
    WeightSet { upstream: Arc<str>, weight: NonZeroU32 },
    WeightForgotten { upstream: Arc<str>, weight: NonZeroU32 },
    WeightsForgotten(TooHeavy),
    DiscoveredLeftOut(TooHeavy),
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

impl Effects {
    /// Tells the operator and the workers.
    pub(super) fn take_place(self, pool: &Pool) {
        for event in &self.events {
            event.log(&pool.name);
        }
        if self.died {
            pool.deaths.fetch_add(1, Ordering::Release);
        }
        if self.moved {
            pool.moves.fetch_add(1, Ordering::Release);
        }
        if self.died || self.moved {
            pool.signal.ring();
        }
    }
}

impl Event {
    fn log(&self, pool: &Arc<str>) {
        match self {
            Self::StateSet { upstream, state } => {
                tracing::info!(%pool, %upstream, ?state, "set by the operator");
            }
            Self::WeightSet { upstream, weight } => {
                tracing::info!(%pool, %upstream, weight, "set by the operator");
            }
            Self::WeightForgotten { upstream, weight } => tracing::info!(
                %pool, %upstream,
                "the operator's weight of {weight} is forgotten: the file has another one now"
            ),
            Self::WeightsForgotten(error) => {
                tracing::warn!(%pool, "the operator's weights are forgotten: {error}");
            }
            Self::DiscoveredLeftOut(error) => tracing::warn!(
                %pool, "leaving out the brokers that DNS has until its next answer: {error}"
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
                "down while the checks of other brokers succeed: its sessions are ended (on_down)"
            ),
            Self::Ejected { upstream, span } => tracing::warn!(
                %pool, %upstream, "ejected for {span:?}: it failed clients that others took"
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
                "serves nobody: no broker answers; asking them again and again"
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
