//! How the members of a pool change: with the configuration and with DNS.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Pool,
    effects::{PoolEffects, PoolEvent},
    members::{Member, MemberChanges, Members, WeightLimitExceeded, with_discovered},
    state::PoolState,
    weights::WeightOverrides,
};
use crate::{
    config::{self, Discover, Upstream},
    metrics::Metrics,
    upstream::{
        broker::{Broker, Endpoint, Serving},
        health::HealthState,
        worker_signal::WorkerSignal,
    },
};

/// What the members are to become.
struct NewMembers<'a> {
    config: Arc<config::Pool>,
    upstreams: &'a [Upstream],
    /// Called with each endpoint before clients can be given it.
    prepare: &'a dyn Fn(&Endpoint),
}

impl Pool {
    /// A pool whose tasks have yet to be [started](crate::upstream::start_pool_tasks). `signal` is
    /// raised when workers have something to do: [`Pool::down_count`], [`Pool::move_count`].
    pub fn new(config: &config::Pool, metrics: &Metrics, signal: Arc<WorkerSignal>) -> Self {
        Self::new_at(config, metrics, signal, Instant::now())
    }

    /// A pool whose time begins at `started`, which may be simulated.
    pub fn new_at(
        config: &config::Pool,
        metrics: &Metrics,
        signal: Arc<WorkerSignal>,
        started: Instant,
    ) -> Self {
        let pool = Self {
            name: config.name.clone(),
            id: xxh3_64(config.name.as_bytes()),
            metrics: metrics.pool(&config.name),
            all_metrics: metrics.clone(),
            started,
            members: ArcSwap::from_pointee(Members::new(0, config.clone().into(), Vec::new())),
            epoch: AtomicU64::new(0),
            changed: watch::Sender::new(()),
            state: Mutex::default(),
            down_count: AtomicU64::new(0),
            move_count: AtomicU64::new(0),
            failing_open: AtomicBool::new(false),
            awaits_success: AtomicBool::new(false),
            recovery_due: Arc::default(),
            signal,
            next_move: Mutex::new(started),
            queued: Arc::default(),
        };
        pool.reconfigure(config, &|_| {}, started);
        pool
    }

    /// Applies another configuration, as if the pool had been started with it; what the operator has
    /// set and the sessions stay. Discovered brokers stay until DNS is asked again; brokers that the
    /// configuration no longer has are [removed](Broker::is_removed). `prepare` is called with each
    /// endpoint before clients can be given it.
    pub fn reconfigure(
        &self,
        config: &config::Pool,
        prepare: &dyn Fn(&Endpoint),
        now: Instant,
    ) -> MemberChanges {
        self.change(|state, effects| {
            let upstreams = self.upstreams_with(config).unwrap_or_else(|error| {
                effects.events.push(PoolEvent::DiscoveredIgnored(error));
                config.upstreams.clone()
            });
            let before = self.members();
            let is_same = *before.config == *config;
            let config = if is_same { before.config.clone() } else { Arc::new(config.clone()) };
            let keeps_discovered = config.discover.is_some();
            let new = NewMembers { config, upstreams: &upstreams, prepare };
            let changes = self.replace_members(state, effects, &new, now);
            let configured = before.config.upstreams.len();
            for (at, Member { broker, .. }) in before.list.iter().enumerate() {
                let was_configured = at < configured || !keeps_discovered;
                if was_configured && changes.removed.contains(&broker.name) {
                    broker.flags.removed.store(true, Ordering::Relaxed);
                }
            }
            if !is_same {
                self.clear_outage(state);
            }
            self.recompute(state, effects, now);
            // The limits on moving clients may have changed, or be new.
            effects.moved |= !is_same || !changes.is_empty();
            changes
        })
    }

    /// Replaces the discovered brokers by those that DNS has now. `None` if the configuration asks
    /// DNS for something else by now.
    ///
    /// # Errors
    /// If they are too heavy for the pool's balancer; nothing has changed then.
    pub fn set_discovered(
        &self,
        from: &Discover,
        found: &[Upstream],
        prepare: &dyn Fn(&Endpoint),
        now: Instant,
    ) -> Result<Option<MemberChanges>, WeightLimitExceeded> {
        self.change(|state, effects| {
            let config = self.config();
            if config.discover.as_ref() != Some(from) {
                return Ok(None);
            }
            let upstreams = with_discovered(&config, found.iter().cloned())?;
            let new = NewMembers { config, upstreams: &upstreams, prepare };
            let changes = self.replace_members(state, effects, &new, now);
            if !changes.is_empty() {
                self.recompute(state, effects, now);
            }
            effects.moved |= !changes.removed.is_empty() || !changes.changed.is_empty();
            Ok(Some(changes))
        })
    }

    /// Follows the pool's removal from the configuration. Its sessions follow `on_down`, and clients
    /// that wait for admission are still admitted; checks and discovery end, and what they found or
    /// the operator set is dropped.
    pub fn retire(&self, now: Instant) {
        self.change(|state, effects| {
            let members = self.members();
            let health = config::Health { active: None, passive: None, fail_open_percent: None };
            let retired =
                config::Pool { discover: None, health, ..config::Pool::clone(&members.config) };
            let upstreams: Vec<_> = members.list.iter().map(Member::upstream).collect();
            state.weights = WeightOverrides::default();
            self.clear_outage(state);
            for known in state.health.values_mut() {
                *known = HealthState::new(&retired.health);
            }
            let config = retired.into();
            let new = NewMembers { config, upstreams: &upstreams, prepare: &|_| {} };
            self.replace_members(state, effects, &new, now);
            let departed = state.departed.values().filter_map(Weak::upgrade);
            for broker in members.list.iter().map(|member| member.broker.clone()).chain(departed) {
                broker.flags.removed.store(true, Ordering::Relaxed);
            }
            self.recompute(state, effects, now);
            effects.moved = true;
        });
    }

    /// Checks that the balancer of `config` can take its brokers and the discovered ones.
    ///
    /// # Errors
    /// If they are too heavy.
    pub fn check_fit(&self, config: &config::Pool) -> Result<(), WeightLimitExceeded> {
        self.upstreams_with(config).map(drop)
    }

    /// The brokers of `config`, and the discovered ones if it still asks for them.
    fn upstreams_with(&self, config: &config::Pool) -> Result<Vec<Upstream>, WeightLimitExceeded> {
        let members = self.members();
        let discovered = members.discovered().filter(|_| config.discover.is_some());
        with_discovered(config, discovered.map(Member::upstream))
    }

    /// Brokers that were members already stay the same brokers, with their sessions and all that is
    /// known about them.
    fn replace_members(
        &self,
        state: &mut PoolState,
        effects: &mut PoolEffects,
        new: &NewMembers<'_>,
        now: Instant,
    ) -> MemberChanges {
        let before = self.members();
        let config = &new.config;
        if before.config.health != config.health {
            for known in state.health.values_mut() {
                known.reconfigure(&before.config.health, &config.health);
            }
        }
        state.weights.revise(config, new.upstreams, effects);
        let mut leaving: HashMap<_, _> =
            before.list.iter().map(|member| (&*member.broker.name, member)).collect();
        let mut changes = MemberChanges::default();
        let mut list = Vec::with_capacity(new.upstreams.len());
        for upstream in new.upstreams {
            let known = leaving.remove(&*upstream.name);
            list.push(self.member(state, new, upstream, known, &mut changes, now));
        }
        let is_leaving = |member: &&Member| leaving.contains_key(&*member.broker.name);
        let departing: Vec<_> = before.list.iter().filter(is_leaving).collect();
        for Member { broker, .. } in &departing {
            changes.removed.push(broker.name.clone());
            state.forget(broker);
        }
        if before.list.is_empty() {
            // The first members have not returned from an outage: they have no slow start.
            for member in &list {
                member.broker.flags.up.store(true, Ordering::Relaxed);
            }
        }
        if !changes.is_empty() || !Arc::ptr_eq(config, &before.config) {
            self.store_members(config.clone(), list);
        }
        // Clients that wait for one of them go on to others, which are members by now.
        for Member { broker, .. } in departing {
            depart(broker, now);
        }
        changes
    }

    /// One of the new members: the known one, a broker that is still in use, or a new one.
    fn member(
        &self,
        state: &mut PoolState,
        new: &NewMembers<'_>,
        upstream: &Upstream,
        known: Option<&Member>,
        changes: &mut MemberChanges,
        now: Instant,
    ) -> Member {
        let config = &new.config;
        let broker = match known {
            Some(member) => member.broker.clone(),
            None => self.returning_or_new(state, config, upstream),
        };
        let change = broker.configure(config, upstream, new.prepare);
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
            Some(known) if change.is_any() || !known.is_ranked_as(&member) => {
                changes.changed.push(upstream.name.clone());
            }
            Some(_) => {}
        }
        let health = state.health.entry(upstream.name.clone());
        let health = health.or_insert_with(|| HealthState::new(&config.health));
        if change.address {
            health.reset(&config.health);
        }
        member
    }

    /// The broker of that name that is still in use, or else a new one.
    fn returning_or_new(
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

    /// Publishes new members. The caller holds the state's lock.
    pub(super) fn store_members(&self, config: Arc<config::Pool>, list: Vec<Member>) {
        let epoch = self.members.load().epoch + 1;
        self.members.store(Arc::new(Members::new(epoch, config, list)));
        self.epoch.store(epoch, Ordering::Release);
        self.changed.send_replace(());
    }
}

/// Marks a broker that is no longer a member.
fn depart(broker: &Broker, now: Instant) {
    broker.flags.leaving.store(true, Ordering::Relaxed);
    broker.flags.up.store(false, Ordering::Relaxed);
    broker.flags.down.store(false, Ordering::Relaxed);
    broker.set_serving(Serving::No, None, now);
    broker.metrics.up.set(0);
}
