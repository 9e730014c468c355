//! What an operator sets at run time: the state and the weight of a broker.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use super::{
    Pool,
    effects::PoolEvent,
    members::{WeightLimitExceeded, check_total_weight},
    weights::configured_weight,
};
use crate::upstream::health::BrokerState;

/// The pool has no broker of that name.
#[derive(Debug, thiserror::Error)]
#[error("no broker {name} in pool {pool}")]
pub struct UnknownBroker {
    name: String,
    pool: Arc<str>,
}

/// Why a weight cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    #[error(transparent)]
    Unknown(#[from] UnknownBroker),
    #[error(transparent)]
    LimitExceeded(#[from] WeightLimitExceeded),
}

impl Pool {
    /// Sets the operator's state of a broker.
    ///
    /// # Errors
    /// If the pool has no such broker.
    pub fn set_state(
        &self,
        name: &str,
        wanted: BrokerState,
        now: Instant,
    ) -> Result<(), UnknownBroker> {
        self.change(|state, effects| {
            let Some((upstream, health)) = state.health.get_key_value(name) else {
                return Err(self.unknown(name));
            };
            if health.state != wanted {
                let upstream = upstream.clone();
                if let Some(health) = state.health.get_mut(name) {
                    health.state = wanted;
                }
                effects.events.push(PoolEvent::StateSet { upstream, state: wanted });
                self.recompute(state, effects, now);
            }
            Ok(())
        })
    }

    /// Sets the weight of a broker in place of the configured one; `None` reverts to the configured
    /// weight. The weight remains in force until it is reverted, the broker leaves the pool, or its
    /// configured weight changes.
    ///
    /// # Errors
    /// If the pool has no such broker, or its balancer does not support such a total weight.
    pub fn set_weight(&self, name: &str, weight: Option<NonZeroU32>) -> Result<(), WeightError> {
        self.change(|state, effects| {
            let mut list = self.members().list.clone();
            let Some(member) = list.iter_mut().find(|member| *member.broker.name == *name) else {
                return Err(self.unknown(name).into());
            };
            let before = member.weight;
            member.weight = weight.unwrap_or(member.configured_weight);
            let (upstream, after) = (member.broker.name.clone(), member.weight);
            let config = self.config();
            check_total_weight(&config, list.iter().map(|member| member.weight))?;
            match weight {
                Some(weight) => {
                    let configured = configured_weight(&config, &upstream);
                    state.weights.set(upstream.clone(), weight, configured);
                }
                None => state.weights.remove(&upstream),
            }
            if after != before {
                effects.events.push(PoolEvent::WeightSet { upstream, weight: after });
                self.store_members(config, list);
                self.recompute(state, effects, Instant::now());
                effects.moved = true;
            }
            Ok(())
        })
    }

    fn unknown(&self, name: &str) -> UnknownBroker {
        UnknownBroker { name: name.to_owned(), pool: self.name.clone() }
    }
}
