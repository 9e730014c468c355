//! What the operator has set for brokers, as another process takes it over.

use std::{num::NonZeroU32, time::Instant};

use serde::{Deserialize, Serialize};

use super::{Pool, weights::configured_weight};
use crate::upstream::health::BrokerState;

/// The brokers of a pool that the operator has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedPool {
    pool: String,
    brokers: Vec<HandedBroker>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HandedBroker {
    name: String,
    /// The operator's state; absent: ready.
    #[serde(default)]
    state: Option<HandedState>,
    /// The operator's weight, and the configured one when it was set: if that has changed, the new
    /// one is in force.
    #[serde(default)]
    weight: Option<(NonZeroU32, Option<NonZeroU32>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HandedState {
    Draining,
    Down,
}

impl Pool {
    /// What the operator has set; `None` if nothing.
    pub(crate) fn hand_over(&self) -> Option<HandedPool> {
        let mut brokers = Vec::new();
        let pool_state = self.state();
        for (name, health) in &pool_state.health {
            let weight = pool_state.weights.get(name);
            let state = match health.state {
                BrokerState::Ready => None,
                BrokerState::Draining => Some(HandedState::Draining),
                BrokerState::Down => Some(HandedState::Down),
            };
            if state.is_some() || weight.is_some() {
                brokers.push(HandedBroker { name: name.to_string(), state, weight });
            }
        }
        (!brokers.is_empty()).then(|| HandedPool { pool: self.name.to_string(), brokers })
    }

    /// Sets what was set in the process before an upgrade.
    pub(crate) fn take_over(&self, pools: &[HandedPool], now: Instant) {
        let own = pools.iter().find(|handed| handed.pool == *self.name);
        for HandedBroker { name, state, weight } in own.iter().flat_map(|own| &own.brokers) {
            // A broker may be gone: then there is nothing to set.
            if let Some(state) = state {
                let state = match state {
                    HandedState::Draining => BrokerState::Draining,
                    HandedState::Down => BrokerState::Down,
                };
                let _ = self.set_state(name, state, now);
            }
            if let Some((weight, configured)) = weight
                && configured_weight(&self.config(), name) == *configured
            {
                let _ = self.set_weight(name, Some(*weight));
            }
        }
    }
}
