//! Which brokers a pool has: as the configuration and DNS say, and as both change.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    sync::{Arc, Weak, atomic::Ordering},
    time::Instant,
};

use super::{
    Pool, PoolState,
    effects::{Effects, Event},
};
use crate::{
    balance::{self, Algorithm, KETAMA_MAX_TOTAL_WEIGHT, Router},
    config::{self, Discover, Upstream},
    upstream::{
        broker::{Broker, Endpoint, Serving},
        discovery::TooHeavy,
        health::HealthState,
    },
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
    /// Goes by another configuration from now on, as if it had been started with it; what the
    /// operator has set and the sessions stay. Discovered brokers stay until DNS is asked again;
    /// brokers that the configuration has no more are [removed](Broker::is_removed). `prepare` sees
    /// each endpoint before clients can be given it.
    pub fn reconfigure(
        &self,
        config: &config::Pool,
        prepare: &dyn Fn(&Endpoint),
        now: Instant,
    ) -> Changes {
        self.change(|state, effects| {
            let upstreams = self.upstreams_with(config).unwrap_or_else(|error| {
                effects.events.push(Event::DiscoveredLeftOut(error));
                config.upstreams.clone()
            });
            let before = self.members();
            let is_same = *before.config == *config;
            let config = if is_same { before.config.clone() } else { Arc::new(config.clone()) };
            let changes = self.replace_members(state, effects, &config, &upstreams, prepare, now);
            let by_dns_alone = before.config.upstreams.len();
            for (at, Member { broker, .. }) in before.list.iter().enumerate() {
                let was_configured = at < by_dns_alone || config.discover.is_none();
                if was_configured && changes.removed.contains(&broker.name) {
                    broker.flags.removed.store(true, Ordering::Relaxed);
                }
            }
            if !is_same {
                self.forget_outage(state);
            }
            self.recompute(state, effects, now);
            // The limits for clients that belong elsewhere may be others, or new.
            effects.moved |= !is_same || !changes.is_empty();
            changes
        })
    }

    /// Makes these the brokers that DNS has, those of the configuration apart. `None` where the
    /// configuration asks DNS for something else by now.
    ///
    /// # Errors
    /// Where they do not fit into the pool's balancer; nothing has changed then.
    pub fn set_discovered(
        &self,
        from: &Discover,
        found: &[Upstream],
        prepare: &dyn Fn(&Endpoint),
        now: Instant,
    ) -> Result<Option<Changes>, TooHeavy> {
        self.change(|state, effects| {
            let config = self.config();
            if config.discover.as_ref() != Some(from) {
                return Ok(None);
            }
            let upstreams = with_discovered(&config, found.iter().cloned())?;
            let changes = self.replace_members(state, effects, &config, &upstreams, prepare, now);
            if !changes.is_empty() {
                self.recompute(state, effects, now);
            }
            effects.moved |= !changes.removed.is_empty() || !changes.changed.is_empty();
            Ok(Some(changes))
        })
    }

    /// The configuration has it no more. Its sessions follow `on_down`, and who waits for admission
    /// is still let in; nothing else goes on, and what was found out or set is forgotten.
    pub fn retire(&self, now: Instant) {
        self.change(|state, effects| {
            let members = self.members();
            let health = config::Health { active: None, passive: None, fail_open_percent: None };
            let retired =
                config::Pool { discover: None, health, ..config::Pool::clone(&members.config) };
            let upstreams: Vec<_> = members.list.iter().map(Member::upstream).collect();
            state.weights = super::Weights::default();
            self.forget_outage(state);
            for known in state.health.values_mut() {
                *known = HealthState::new(&retired.health);
            }
            self.replace_members(state, effects, &retired.into(), &upstreams, &|_| {}, now);
            let departed = state.departed.values().filter_map(Weak::upgrade);
            for broker in members.list.iter().map(|it| it.broker.clone()).chain(departed) {
                broker.flags.removed.store(true, Ordering::Relaxed);
            }
            self.recompute(state, effects, now);
            effects.moved = true;
        });
    }

    /// Whether the brokers of `config` and those that were discovered fit into its balancer.
    ///
    /// # Errors
    /// Where they do not.
    pub fn check_fit(&self, config: &config::Pool) -> Result<(), TooHeavy> {
        self.upstreams_with(config).map(drop)
    }

    /// The brokers of `config`, and those that were discovered and are still wanted.
    fn upstreams_with(&self, config: &config::Pool) -> Result<Vec<Upstream>, TooHeavy> {
        let members = self.members();
        let discovered = members.list.iter().skip(members.config.upstreams.len());
        let discovered = discovered.filter(|_| config.discover.is_some()).map(Member::upstream);
        with_discovered(config, discovered)
    }

    /// Those that were members already stay the brokers they are, with their sessions and all that
    /// is known of them.
    fn replace_members(
        &self,
        state: &mut PoolState,
        effects: &mut Effects,
        config: &Arc<config::Pool>,
        upstreams: &[Upstream],
        prepare: &dyn Fn(&Endpoint),
        now: Instant,
    ) -> Changes {
        let before = self.members();
        if before.config.health != config.health {
            for known in state.health.values_mut() {
                known.follow(&before.config.health, &config.health);
            }
        }
        let mut leaving: HashMap<_, _> =
            before.list.iter().map(|member| (&*member.broker.name, member)).collect();
        let mut changes = Changes::default();
        let mut list = Vec::with_capacity(upstreams.len());
        state.weights.check(config, upstreams, effects);
        for upstream in upstreams {
            let known = leaving.remove(&*upstream.name);
            let broker = match known {
                Some(member) => member.broker.clone(),
                None => self.newcomer(state, config, upstream),
            };
            let change = broker.configure(config, upstream, prepare);
            if known.is_none() {
                // Before clients can be given it: nothing is known against it.
                broker.set_serving(Serving::Yes, config.admission, now);
            }
            broker.flags.removed.store(false, Ordering::Relaxed);
            let member = Member {
                weight: state.weights.weight_of(upstream),
                configured_weight: upstream.weight,
                backup: upstream.backup,
                broker,
            };
            match known {
                None => changes.added.push(upstream.name.clone()),
                Some(known) if change.is_any() || !known.is_placed_as(&member) => {
                    changes.changed.push(upstream.name.clone());
                }
                Some(_) => {}
            }
            let health = state.health.entry(upstream.name.clone());
            let health = health.or_insert_with(|| HealthState::new(&config.health));
            if change.address {
                health.forget(&config.health);
            }
            list.push(member);
        }
        let is_leaving = |member: &&Member| leaving.contains_key(&*member.broker.name);
        let departing: Vec<_> = before.list.iter().filter(is_leaving).collect();
        for Member { broker, .. } in &departing {
            changes.removed.push(broker.name.clone());
            state.forget(broker);
        }
        if before.list.is_empty() {
            // Those that are there from the start have not returned from anywhere.
            for member in &list {
                member.broker.flags.up.store(true, Ordering::Relaxed);
            }
        }
        if !changes.is_empty() || !Arc::ptr_eq(config, &before.config) {
            self.store_members(config.clone(), list);
        }
        // Who waits for one of them goes on to others, which are members by now.
        for Member { broker, .. } in departing {
            depart(broker, now);
        }
        changes
    }

    /// Makes these the members; to be called by who holds the state.
    pub(super) fn store_members(&self, config: Arc<config::Pool>, list: Vec<Member>) {
        let epoch = self.members.load().epoch + 1;
        let brokers: Vec<_> = list.iter().map(Member::for_route).collect();
        let router = Router::new(config.balance.algorithm, &brokers);
        self.members.store(Arc::new(Members { epoch, config, list, router }));
        self.epoch.store(epoch, Ordering::Release);
        self.changed.send_replace(());
    }

    /// A broker that is new, or the one of that name that somebody still holds.
    fn newcomer(
        &self,
        state: &mut PoolState,
        config: &config::Pool,
        upstream: &Upstream,
    ) -> Arc<Broker> {
        let departed = state.departed.remove(&upstream.name);
        departed.and_then(|departed| departed.upgrade()).unwrap_or_else(|| {
            Arc::new(Broker::new(config, upstream, &self.all_metrics, &self.queued))
        })
    }
}

impl PoolState {
    /// Forgets all that is known of a broker that leaves the pool.
    fn forget(&mut self, broker: &Arc<Broker>) {
        self.health.remove(&broker.name);
        self.weights.forget(&broker.name);
        self.departed.insert(broker.name.clone(), Arc::downgrade(broker));
    }
}

fn depart(broker: &Broker, now: Instant) {
    broker.flags.leaving.store(true, Ordering::Relaxed);
    broker.flags.up.store(false, Ordering::Relaxed);
    broker.flags.dead.store(false, Ordering::Relaxed);
    broker.set_serving(Serving::No, None, now);
    broker.metrics.up.set(0);
}

impl Member {
    fn for_route(&self) -> balance::WeightedBroker {
        let (name, weight, backup) = (self.broker.name.clone(), self.weight, self.backup);
        balance::WeightedBroker { name, weight, backup }
    }

    /// As the configuration would say it.
    fn upstream(&self) -> Upstream {
        Upstream {
            name: self.broker.name.clone(),
            address: self.broker.endpoint().address.clone(),
            weight: self.configured_weight,
            max_connections: self.broker.max_connections(),
            backup: self.backup,
        }
    }

    fn is_placed_as(&self, other: &Self) -> bool {
        let place = |member: &Self| (member.weight, member.configured_weight, member.backup);
        place(self) == place(other)
    }
}

/// The brokers of the configuration, then those of DNS that have other names.
pub(in crate::upstream) fn with_discovered(
    pool: &config::Pool,
    discovered: impl Iterator<Item = Upstream>,
) -> Result<Vec<Upstream>, TooHeavy> {
    let mut names: HashSet<Arc<str>> = HashSet::new();
    let mut upstreams: Vec<_> = pool.upstreams.iter().cloned().chain(discovered).collect();
    upstreams.retain(|upstream| names.insert(upstream.name.clone()));
    check_weights(pool, upstreams.iter().map(|upstream| upstream.weight))?;
    Ok(upstreams)
}

/// Whether brokers of these weights fit into the pool's balancer.
pub(in crate::upstream) fn check_weights(
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
        .map(|upstream| balance::WeightedBroker {
            name: upstream.name.clone(),
            weight: upstream.weight,
            backup: upstream.backup,
        })
        .collect();
    Router::new(algorithm, &brokers)
}
