//! The brokers of a pool, from the configuration and from DNS.

use std::{collections::HashSet, num::NonZeroU32, sync::Arc};

use crate::{
    balance::{self, Algorithm, KETAMA_MAX_TOTAL_WEIGHT, Router},
    config::{self, Upstream},
    upstream::broker::Broker,
};

/// The brokers of a pool at one time, with the balancers over them and the configuration they come
/// from. All of this is replaced at once, so that every client is routed by a consistent whole.
pub struct Members {
    pub epoch: u64,
    pub config: Arc<config::Pool>,
    /// In the order of the configuration, followed by the discovered brokers.
    pub list: Vec<Member>,
    pub router: Router,
}

/// A broker as a member of a pool.
#[derive(Clone, Debug)]
pub struct Member {
    pub broker: Arc<Broker>,
    /// The weight in force: the operator's if there is one, otherwise the configured weight.
    pub weight: NonZeroU32,
    /// The weight from the configuration or DNS.
    pub configured_weight: NonZeroU32,
    pub backup: bool,
}

/// The changes to the members of a pool.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MemberChanges {
    pub added: Vec<Arc<str>>,
    pub removed: Vec<Arc<str>>,
    /// Members whose weight, rank, address or limits have changed.
    pub changed: Vec<Arc<str>>,
}

/// The total weight of the brokers is more than the pool's balancer supports.
#[derive(Debug, thiserror::Error)]
#[error(
    "the brokers weigh {0} in sum; for ketama, which has 160 points for each unit, up to \
     {KETAMA_MAX_TOTAL_WEIGHT} are allowed"
)]
pub struct WeightLimitExceeded(pub(crate) u64);

impl MemberChanges {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Members {
    pub(super) fn new(epoch: u64, config: Arc<config::Pool>, list: Vec<Member>) -> Self {
        let brokers: Vec<_> = list.iter().map(Member::for_router).collect();
        let router = Router::new(config.balance.algorithm, &brokers);
        Self { epoch, config, list, router }
    }

    /// The members found in DNS.
    pub(crate) fn discovered(&self) -> impl Iterator<Item = &Member> {
        self.list.iter().skip(self.config.upstreams.len())
    }
}

impl Member {
    fn for_router(&self) -> balance::WeightedBroker {
        let (name, weight, backup) = (self.broker.name.clone(), self.weight, self.backup);
        balance::WeightedBroker { name, weight, backup }
    }

    /// The member in the form of the configuration.
    pub(super) fn upstream(&self) -> Upstream {
        Upstream {
            name: self.broker.name.clone(),
            address: self.broker.endpoint().address.clone(),
            weight: self.configured_weight,
            max_connections: self.broker.max_connections(),
            backup: self.backup,
        }
    }

    /// Whether both have the same weights and rank.
    pub(super) fn is_ranked_as(&self, other: &Self) -> bool {
        let rank = |member: &Self| (member.weight, member.configured_weight, member.backup);
        rank(self) == rank(other)
    }
}

/// The configured brokers, followed by the brokers found in DNS whose names differ from those.
///
/// # Errors
/// If they are too heavy for the pool's balancer.
pub(crate) fn with_discovered(
    pool: &config::Pool,
    discovered: impl Iterator<Item = Upstream>,
) -> Result<Vec<Upstream>, WeightLimitExceeded> {
    let mut names: HashSet<Arc<str>> = HashSet::new();
    let mut upstreams: Vec<_> = pool.upstreams.iter().cloned().chain(discovered).collect();
    upstreams.retain(|upstream| names.insert(upstream.name.clone()));
    check_total_weight(pool, upstreams.iter().map(|upstream| upstream.weight))?;
    Ok(upstreams)
}

/// Checks that the pool's balancer supports brokers of these weights.
pub(crate) fn check_total_weight(
    pool: &config::Pool,
    weights: impl Iterator<Item = NonZeroU32>,
) -> Result<(), WeightLimitExceeded> {
    let total = weights.map(|weight| u64::from(weight.get())).sum();
    let exceeds = pool.balance.algorithm == Algorithm::Ketama && total > KETAMA_MAX_TOTAL_WEIGHT;
    if exceeds { Err(WeightLimitExceeded(total)) } else { Ok(()) }
}

/// The balancers over the configured brokers.
pub fn router(algorithm: Algorithm, upstreams: &[Upstream]) -> Router {
    let brokers: Vec<_> = upstreams
        .iter()
        .map(|upstream| balance::WeightedBroker {
            name: upstream.name.clone(),
            weight: upstream.weight,
            backup: upstream.backup,
        })
        .collect();
    Router::new(algorithm, &brokers)
}
