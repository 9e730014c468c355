//! Which brokers a pool has: as the configuration says and DNS, and as both change.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    broker::Broker,
    condition::Condition,
    pool::{Judged, Pool},
    records::TooHeavy,
    standing::Serving,
};
use crate::{
    config::{self, Upstream},
    route::{self, Algorithm, KETAMA_MAX_TOTAL_WEIGHT, Router},
};

/// The brokers of a pool at one time, the balancers over them, and what else the configuration says
/// of the pool: replaced as one, so that no client is chosen for by half of it.
pub struct Members {
    pub epoch: u64,
    pub config: Arc<config::Pool>,
    /// In the order of the configuration, then those that were discovered.
    pub list: Vec<Member>,
    pub router: Router,
}

/// A broker in a pool.
#[derive(Clone, Debug)]
pub struct Member {
    pub broker: Arc<Broker>,
    /// The one in force: the operator's where there is one, else the configured one.
    pub weight: NonZeroU32,
    /// What the configuration or DNS says.
    pub configured_weight: NonZeroU32,
    pub backup: bool,
}

/// How a pool's members have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<Arc<str>>,
    pub removed: Vec<Arc<str>>,
    /// Weight, rank, address or limits.
    pub changed: Vec<Arc<str>>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Pool {
    /// Makes these the pool's brokers. Those that were members already stay as they are, with their
    /// sessions and all that is known of them. `prepare` sees each before clients can be given it.
    pub fn set_members(
        &self,
        upstreams: &[Upstream],
        prepare: &dyn Fn(&Broker),
        now: Instant,
    ) -> Changes {
        let mut judged = self.judged();
        let changes = self.replace_members(&mut judged, self.config(), upstreams, prepare);
        self.act_on(&mut judged, &changes, now);
        changes
    }

    /// Goes by another configuration from now on. Discovered brokers stay until DNS is asked again;
    /// brokers that the configuration has no more are [removed](Broker::is_removed).
    ///
    /// # Errors
    /// Where the brokers that were discovered and those of the configuration do not fit together.
    pub fn reconfigure(
        &self,
        config: &config::Pool,
        prepare: &dyn Fn(&Broker),
        now: Instant,
    ) -> Result<Changes, TooHeavy> {
        let mut judged = self.judged();
        let upstreams = self.upstreams_with(config)?;
        let before = self.members();
        let changes = self.replace_members(&mut judged, config.clone().into(), &upstreams, prepare);
        let discovers = config.discover.is_some();
        for (at, Member { broker, .. }) in before.list.iter().enumerate() {
            let was_configured = at < before.config.upstreams.len() || !discovers;
            if was_configured && changes.removed.contains(&broker.name) {
                broker.standing.removed.store(true, Ordering::Relaxed);
            }
        }
        self.act_on(&mut judged, &changes, now);
        // Limits on the way home may be others, or new.
        self.announce(&self.moves);
        Ok(changes)
    }

    /// Says that the whole pool is no longer in the configuration.
    pub fn remove(&self) {
        let members = self.members();
        let brokers = members.list.iter().map(|member| &member.broker);
        for broker in brokers.chain(&self.judged().retired) {
            broker.standing.removed.store(true, Ordering::Relaxed);
        }
        self.announce(&self.moves);
    }

    /// Whether it was removed, and no session is left.
    pub fn is_deserted(&self) -> bool {
        let members = self.members();
        members.list.iter().all(|member| member.broker.sessions() == 0)
            && self.judged().retired.iter().all(|broker| broker.sessions() == 0)
    }

    /// The brokers of `config`, and those that were discovered and are still wanted.
    pub fn upstreams_with(&self, config: &config::Pool) -> Result<Vec<Upstream>, TooHeavy> {
        let members = self.members();
        let mut upstreams = config.upstreams.clone();
        if config.discover.is_some() {
            let discovered = members.list.iter().skip(members.config.upstreams.len());
            let is_new = |member: &&Member| {
                !config.upstreams.iter().any(|upstream| upstream.name == member.broker.name)
            };
            upstreams.extend(discovered.filter(is_new).map(Member::upstream));
        }
        check_weights(config, upstreams.iter().map(|upstream| upstream.weight))?;
        Ok(upstreams)
    }

    fn act_on(&self, judged: &mut Judged, changes: &Changes, now: Instant) {
        if !changes.is_empty() {
            self.judge(judged, now);
        }
        if !changes.removed.is_empty() || !changes.changed.is_empty() {
            self.announce(&self.moves);
        }
    }

    pub(super) fn replace_members(
        &self,
        judged: &mut Judged,
        config: Arc<config::Pool>,
        upstreams: &[Upstream],
        prepare: &dyn Fn(&Broker),
    ) -> Changes {
        let before = self.members();
        let mut leaving: HashMap<_, _> =
            before.list.iter().map(|member| (&*member.broker.name, member)).collect();
        let mut changes = Changes::default();
        let mut list = Vec::with_capacity(upstreams.len());
        judged.overrides.check(&config, upstreams);
        for upstream in upstreams {
            let (configured_weight, backup) = (upstream.weight, upstream.backup);
            let weight = judged.overrides.weight_of(upstream);
            let broker = if let Some(member) = leaving.remove(&*upstream.name) {
                let broker = self.successor(judged, &config, upstream, &member.broker);
                let before = (member.weight, member.configured_weight, member.backup);
                if before != (weight, configured_weight, backup)
                    || !Arc::ptr_eq(&broker, &member.broker)
                {
                    changes.changed.push(upstream.name.clone());
                }
                broker
            } else {
                changes.added.push(upstream.name.clone());
                judged.conditions.insert(upstream.name.clone(), Condition::default());
                self.newcomer(judged, &config, upstream)
            };
            broker.standing.removed.store(false, Ordering::Relaxed);
            prepare(&broker);
            list.push(Member { broker, weight, configured_weight, backup });
        }
        for Member { broker, .. } in &before.list {
            if leaving.contains_key(&*broker.name) {
                changes.removed.push(broker.name.clone());
                judged.conditions.remove(&broker.name);
                judged.overrides.forget(&broker.name);
                broker.standing.leaving.store(true, Ordering::Relaxed);
                broker.standing.up.store(false, Ordering::Relaxed);
                broker.set_serving(Serving::No);
                broker.metrics.up.set(0);
                judged.retired.push(broker.clone());
            }
        }
        if before.list.is_empty() {
            // Those that are there from the start have not returned from anywhere.
            for member in &list {
                member.broker.standing.up.store(true, Ordering::Relaxed);
            }
        }
        if !changes.is_empty() || !Arc::ptr_eq(&config, &before.config) {
            self.store_members(config, list);
        }
        changes
    }

    /// Makes these the members; to be called by who holds `judged`.
    pub(super) fn store_members(&self, config: Arc<config::Pool>, list: Vec<Member>) {
        let epoch = self.members.load().epoch + 1;
        let brokers: Vec<_> = list.iter().map(Member::for_route).collect();
        let router = Router::new(config.balance.algorithm, &brokers);
        self.members.store(Arc::new(Members { epoch, config, list, router }));
        self.epoch.store(epoch, Ordering::Release);
    }

    /// The broker itself where it can stay as it is; else one that takes its place and its standing.
    fn successor(
        &self,
        judged: &mut Judged,
        config: &config::Pool,
        upstream: &Upstream,
        broker: &Arc<Broker>,
    ) -> Arc<Broker> {
        if broker.is_as(config, upstream) {
            return broker.clone();
        }
        judged.retired.push(broker.clone());
        if broker.address != upstream.address
            && let Some(condition) = judged.conditions.get_mut(&upstream.name)
        {
            // What was found out at the old address says nothing of the new one.
            condition.forget();
        }
        let next = self.broker(config, upstream, broker);
        next.inherit_address(broker);
        next
    }

    /// One that is new, or returns.
    fn newcomer(
        &self,
        judged: &mut Judged,
        config: &config::Pool,
        upstream: &Upstream,
    ) -> Arc<Broker> {
        let returns = judged.retired.iter().rposition(|old| old.name == upstream.name);
        match returns.map(|at| judged.retired[at].clone()) {
            Some(old) if old.is_as(config, upstream) => {
                judged.retired.retain(|other| !Arc::ptr_eq(other, &old));
                old
            }
            Some(old) => self.broker(config, upstream, &old),
            None => {
                let (metrics, queued) = (&self.all_metrics, &self.queued);
                Arc::new(Broker::new(config, upstream, Arc::default(), metrics, queued))
            }
        }
    }

    /// A broker of the same name as `old`, and so of its standing.
    fn broker(&self, config: &config::Pool, upstream: &Upstream, old: &Broker) -> Arc<Broker> {
        let (metrics, queued) = (&self.all_metrics, &self.queued);
        Arc::new(Broker::new(config, upstream, old.standing.clone(), metrics, queued))
    }
}

impl Member {
    fn for_route(&self) -> route::Broker {
        let (name, weight, backup) = (self.broker.name.clone(), self.weight, self.backup);
        route::Broker { name, weight, backup }
    }

    /// As the configuration would say it.
    fn upstream(&self) -> Upstream {
        Upstream {
            name: self.broker.name.clone(),
            address: self.broker.address.clone(),
            weight: self.configured_weight,
            max_connections: self.broker.max_connections,
            backup: self.backup,
        }
    }
}

/// Whether brokers of these weights fit into the pool's balancer.
pub(super) fn check_weights(
    pool: &config::Pool,
    weights: impl Iterator<Item = NonZeroU32>,
) -> Result<(), TooHeavy> {
    let total = weights.map(|weight| u64::from(weight.get())).sum();
    let too_heavy = pool.balance.algorithm == Algorithm::Ketama && total > KETAMA_MAX_TOTAL_WEIGHT;
    if too_heavy { Err(TooHeavy(total)) } else { Ok(()) }
}

/// The balancers over brokers as they are configured.
pub fn router(algorithm: Algorithm, upstreams: &[Upstream]) -> Router {
    let brokers: Vec<_> = upstreams
        .iter()
        .map(|upstream| route::Broker {
            name: upstream.name.clone(),
            weight: upstream.weight,
            backup: upstream.backup,
        })
        .collect();
    Router::new(algorithm, &brokers)
}
