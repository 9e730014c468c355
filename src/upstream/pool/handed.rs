//! What the operator has set for brokers, and what the checks and clients have found, as another
//! process takes it over.

use std::{num::NonZeroU32, time::Instant};

use serde::{Deserialize, Serialize};

use super::{Pool, handed_outage::HandedOutage, health::ProbeResult, weights::configured_weight};
use crate::upstream::health::{BrokerState, HandedEjection};

#[cfg(test)]
mod tests;

/// The error of the checks that a verdict of another process stands for.
const FOUND_DOWN: &str = "the process before the upgrade has found it down";

/// The brokers of a pool that are not as after a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedPool {
    pool: String,
    brokers: Vec<HandedBroker>,
    #[serde(default)]
    outage: Option<HandedOutage>,
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
    /// Its address, if the checks have found it down there.
    #[serde(default)]
    down_at: Option<String>,
    /// Its address, if it has been ejected there.
    #[serde(default)]
    ejected_at: Option<(String, HandedEjection)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HandedState {
    Draining,
    Down,
}

impl HandedBroker {
    fn differs_from_a_start(&self) -> bool {
        let Self { name: _, state, weight, down_at, ejected_at } = self;
        state.is_some() || weight.is_some() || down_at.is_some() || ejected_at.is_some()
    }
}

impl Pool {
    /// What differs from a start; `None` if nothing does.
    pub(crate) fn hand_over(&self, now: Instant) -> Option<HandedPool> {
        let outage = self.hand_over_outage(now);
        let mut brokers = Vec::new();
        let members = self.members();
        let address = |name: &str| {
            let member = members.list.iter().find(|member| *member.broker.name == *name)?;
            Some(member.broker.endpoint().address.to_string())
        };
        let pool_state = self.state();
        for (name, health) in &pool_state.health {
            let weight = pool_state.weights.get(name);
            let state = match health.state {
                BrokerState::Ready => None,
                BrokerState::Draining => Some(HandedState::Draining),
                BrokerState::Down => Some(HandedState::Down),
            };
            let down_at = if health.is_checked_down() { address(name) } else { None };
            let ejected_at = health.hand_over_ejection(now).zip(address(name));
            let ejected_at = ejected_at.map(|(ejection, address)| (address, ejection));
            let name = name.to_string();
            let handed = HandedBroker { name, state, weight, down_at, ejected_at };
            if handed.differs_from_a_start() {
                brokers.push(handed);
            }
        }
        (!brokers.is_empty() || outage.is_some()).then(|| HandedPool {
            pool: self.name.to_string(),
            brokers,
            outage,
        })
    }

    /// Sets what was set, and believes the checks, in the process before an upgrade.
    pub(crate) fn take_over(&self, pools: &[HandedPool], now: Instant) {
        let own = pools.iter().find(|handed| handed.pool == *self.name);
        for broker in own.iter().flat_map(|own| &own.brokers) {
            let HandedBroker { name, state, weight, down_at, ejected_at } = broker;
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
            if let Some(address) = down_at {
                self.take_down(name, address, now);
            }
            if let Some((address, ejection)) = ejected_at {
                self.take_over_ejection(name, address, ejection, now);
            }
        }
        if let Some(outage) = own.and_then(|own| own.outage.as_ref()) {
            self.take_over_outage(outage, now);
        }
    }

    /// Goes on with the ejection of a broker, unless its address has changed.
    fn take_over_ejection(
        &self,
        name: &str,
        address: &str,
        ejection: &HandedEjection,
        now: Instant,
    ) {
        let members = self.members();
        let is_same = members.list.iter().any(|member| {
            let broker = &member.broker;
            *broker.name == *name && broker.endpoint().address.to_string() == address
        });
        self.change(|state, effects| {
            if let Some(health) = state.health.get_mut(name).filter(|_| is_same) {
                health.take_over_ejection(ejection, now);
                self.recompute(state, effects, now);
            }
        });
    }

    /// Finds a broker down as its checks do, unless its address has changed or it has none.
    fn take_down(&self, name: &str, address: &str, now: Instant) {
        let members = self.members();
        let Some(check) = &members.config.health.active else { return };
        for member in members.list.iter().filter(|member| *member.broker.name == *name) {
            let (broker, endpoint) = (&*member.broker, &member.broker.endpoint());
            if endpoint.address.to_string() != address {
                continue;
            }
            let outcome = Err(FOUND_DOWN);
            for _ in 0..check.fall.get() {
                self.record_probe(
                    &ProbeResult { broker, endpoint, check, began: now, outcome },
                    now,
                );
            }
        }
    }
}
