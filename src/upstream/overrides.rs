//! Weights that the operator has set at run time, instead of the configured ones.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Instant};

use super::{judgement::UnknownBroker, members::Member, pool::Pool, records::TooHeavy};
use crate::{
    config::{self, Upstream},
    route::{Algorithm, KETAMA_MAX_TOTAL_WEIGHT},
};

/// Why a weight cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    #[error(transparent)]
    Unknown(#[from] UnknownBroker),
    #[error(transparent)]
    TooHeavy(#[from] TooHeavy),
}

/// The weights that the operator has set, by broker.
#[derive(Debug, Default)]
pub(super) struct Overrides(HashMap<Arc<str>, Override>);

#[derive(Debug)]
struct Override {
    weight: NonZeroU32,
    /// What the file said when it was set; `None` for a broker that DNS knows of.
    instead_of: Option<NonZeroU32>,
}

impl Overrides {
    /// The weight that is to be in force.
    pub(super) fn weight_of(&self, upstream: &Upstream) -> NonZeroU32 {
        self.0.get(&upstream.name).map_or(upstream.weight, |set| set.weight)
    }

    /// Forgets those of brokers whose weight in the file has changed since, and all of them where
    /// they would not fit into the pool's balancer beside new brokers.
    pub(super) fn check(&mut self, pool: &config::Pool, upstreams: &[Upstream]) {
        self.0.retain(|name, set| {
            let stays = set.instead_of == in_file(pool, name);
            if !stays {
                let (pool, weight) = (&pool.name, set.weight);
                tracing::info!(
                    %pool, upstream = %name,
                    "the operator's weight of {weight} is forgotten: the file has another one now"
                );
            }
            stays
        });
        let total =
            upstreams.iter().map(|upstream| u64::from(self.weight_of(upstream).get())).sum();
        if !self.0.is_empty()
            && let Err(error) = check_total(pool, total)
        {
            tracing::warn!(pool = %pool.name, "the operator's weights are forgotten: {error}");
            self.0.clear();
        }
    }

    /// Forgets that of a broker that has left the pool.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

impl Pool {
    /// Has a broker weigh so much, whatever its configuration says; `None` takes that back. It holds
    /// until then, or until the broker leaves the pool or its weight in the file changes.
    ///
    /// # Errors
    /// Where the pool has no such broker, or its balancer takes no more weight.
    pub fn set_weight(&self, name: &str, weight: Option<NonZeroU32>) -> Result<(), WeightError> {
        let mut judged = self.judged();
        let mut list = self.members().list.clone();
        let Some(member) = list.iter_mut().find(|member| *member.broker.name == *name) else {
            let pool = self.name.clone();
            return Err(UnknownBroker { name: name.to_owned(), pool }.into());
        };
        let before = member.weight;
        member.weight = weight.unwrap_or(member.configured_weight);
        let (name, now) = (member.broker.name.clone(), member.weight);
        let config = self.config();
        check_total(&config, total(&list))?;
        match weight {
            Some(weight) => {
                let instead_of = in_file(&config, &name);
                judged.overrides.0.insert(name.clone(), Override { weight, instead_of });
            }
            None => judged.overrides.forget(&name),
        }
        if now != before {
            let pool = &self.name;
            tracing::info!(%pool, upstream = %name, weight = now, "set by the operator");
            self.store_members(config, list);
            self.judge(&mut judged, Instant::now());
            self.announce(&self.moves);
        }
        Ok(())
    }
}

fn in_file(pool: &config::Pool, name: &str) -> Option<NonZeroU32> {
    let upstream = pool.upstreams.iter().find(|upstream| *upstream.name == *name);
    upstream.map(|upstream| upstream.weight)
}

fn total(list: &[Member]) -> u64 {
    list.iter().map(|member| u64::from(member.weight.get())).sum()
}

fn check_total(pool: &config::Pool, total: u64) -> Result<(), TooHeavy> {
    let too_heavy = pool.balance.algorithm == Algorithm::Ketama && total > KETAMA_MAX_TOTAL_WEIGHT;
    if too_heavy { Err(TooHeavy(total)) } else { Ok(()) }
}
