//! From a key to a broker: pure functions of keys, names, weights and health.
//!
//! Brokers are hashed by *name*, so a changed address moves no client, and proxies with the same
//! configuration agree without communicating.

mod ketama;
mod key;
mod least_connections;
mod maglev;
mod member;
mod rendezvous;
mod round_robin;
#[cfg(test)]
mod tests;

use std::{num::NonZeroU32, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use ketama::KETAMA_MAX_TOTAL_WEIGHT;
pub(crate) use key::{Choice, EmptyClientId, KeyTemplate, TenantFields};

use ketama::Ketama;
use least_connections::LeastConnections;
use maglev::Maglev;
use member::TierMember;
use rendezvous::Rendezvous;
use round_robin::RoundRobin;

/// How a pool chooses among its brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    #[default]
    /// Weighted rendezvous hashing: the least movement on any change, one hash per broker and pick.
    Rendezvous,
    /// A lookup table for pools of hundreds of brokers; a changed pool moves a few keys too many.
    Maglev,
    /// nginx's `hash KEY consistent`, key by key.
    Ketama,
    /// The less loaded of two brokers drawn at random; no key.
    LeastConnections,
    /// Smooth weighted round robin; no key.
    RoundRobin,
}

impl Algorithm {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rendezvous => "rendezvous",
            Self::Maglev => "maglev",
            Self::Ketama => "ketama",
            Self::LeastConnections => "least_connections",
            Self::RoundRobin => "round_robin",
        }
    }

    /// Whether a client's key decides.
    pub fn is_keyed(self) -> bool {
        matches!(self, Self::Rendezvous | Self::Maglev | Self::Ketama)
    }
}

/// A broker as the balancers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedBroker {
    /// The name that is hashed; unique in its pool.
    pub name: Arc<str>,
    /// The broker's share of the clients, relative to the other weights of its tier.
    pub weight: NonZeroU32,
    /// Serves only when no primary can.
    pub backup: bool,
}

/// The balancers of one pool: one for the primaries, and one for the backups, which serve when no
/// primary can.
///
/// Made once and cloned per worker: a clone shares the tables, and has its own round-robin credits
/// and random draws.
#[derive(Clone, Debug)]
pub struct Router {
    primaries: Tier,
    backups: Tier,
}

impl Router {
    /// The order of `brokers` defines the indices that picks return. It decides nothing else,
    /// except which broker is first in round robin and, as in nginx, which of two coinciding ketama
    /// points stays.
    pub fn new(algorithm: Algorithm, brokers: &[WeightedBroker]) -> Self {
        let tier = |backup| {
            let members: Vec<_> = brokers
                .iter()
                .enumerate()
                .filter(|(_, broker)| broker.backup == backup)
                .map(|(index, broker)| TierMember {
                    index,
                    name: &broker.name,
                    weight: broker.weight,
                })
                .collect();
            Tier::new(algorithm, &members)
        };
        Self { primaries: tier(false), backups: tier(true) }
    }

    /// The best broker for `key`, as an index into the brokers given to [`Router::new`].
    ///
    /// `sessions` returns how many sessions a broker carries now, or `None` if it may not be
    /// picked: it is down, full, draining, or was tried already. Repeated picks without the tried
    /// brokers give the order of tries. A backup is picked only if no primary may be; `None` means
    /// that no broker may.
    pub fn pick(&mut self, key: &[u8], sessions: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        self.primaries.pick(key, sessions).or_else(|| self.backups.pick(key, sessions))
    }

    /// Least connections, whatever the algorithm is: for clients without a key.
    pub fn pick_least_connections(
        &mut self,
        sessions: &dyn Fn(usize) -> Option<u32>,
    ) -> Option<usize> {
        let Self { primaries, backups } = self;
        primaries.unkeyed.pick(sessions).or_else(|| backups.unkeyed.pick(sessions))
    }
}

/// All primaries, or all backups.
#[derive(Clone, Debug)]
struct Tier {
    balancer: Balancer,
    unkeyed: LeastConnections,
}

#[derive(Clone, Debug)]
enum Balancer {
    Rendezvous(Rendezvous),
    Maglev(Maglev),
    Ketama(Ketama),
    /// Uses [`Tier::unkeyed`].
    LeastConnections,
    RoundRobin(RoundRobin),
}

impl Tier {
    fn new(algorithm: Algorithm, members: &[TierMember<'_>]) -> Self {
        let balancer = match algorithm {
            Algorithm::Rendezvous => Balancer::Rendezvous(Rendezvous::new(members)),
            Algorithm::Maglev => Balancer::Maglev(Maglev::new(members)),
            Algorithm::Ketama => Balancer::Ketama(Ketama::new(members)),
            Algorithm::LeastConnections => Balancer::LeastConnections,
            Algorithm::RoundRobin => Balancer::RoundRobin(RoundRobin::new(members)),
        };
        Self { balancer, unkeyed: LeastConnections::new(members) }
    }

    fn pick(&mut self, key: &[u8], sessions: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        match &mut self.balancer {
            Balancer::Rendezvous(rendezvous) => rendezvous.pick(key, sessions),
            Balancer::Maglev(maglev) => maglev.pick(key, sessions),
            Balancer::Ketama(ketama) => ketama.pick(key, sessions),
            Balancer::LeastConnections => self.unkeyed.pick(sessions),
            Balancer::RoundRobin(round_robin) => round_robin.pick(sessions),
        }
    }
}
