//! How a pool follows its configuration and DNS.

use std::{
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
    effects::PoolEvent,
    members::{Member, MemberChanges, Members, WeightLimitExceeded, with_discovered},
    replace_members::NewMembers,
    weights::WeightOverrides,
};
use crate::{
    config::{self, Discover, Upstream},
    metrics::Metrics,
    upstream::{broker::Endpoint, health::HealthState, worker_signal::WorkerSignal},
};

impl Pool {
    /// Makes a pool whose tasks still have to be [started](crate::upstream::start_pool_tasks).
    /// `signal` is raised when [`Pool::down_count`] or [`Pool::move_count`] requires action by the
    /// workers.
    pub fn new(config: &config::Pool, metrics: &Metrics, signal: Arc<WorkerSignal>) -> Self {
        Self::new_at(config, metrics, signal, Instant::now())
    }

    /// Makes a pool whose time begins at `started`, which may be simulated.
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

    /// Applies another configuration, as if the pool had been started with it; the operator's
    /// settings and the sessions stay. Discovered brokers stay until the next DNS lookup; brokers
    /// that are no longer configured are [removed](crate::upstream::Broker::is_removed). `prepare`
    /// is called with each endpoint before clients can be sent there.
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
            // The limits on moving clients may have changed, or may be new.
            effects.moved |= !is_same || !changes.is_empty();
            changes
        })
    }

    /// Replaces the discovered brokers by those that DNS has now. `None` if the configuration now
    /// asks DNS for something else.
    ///
    /// # Errors
    /// If they are too heavy for the pool's balancer; in that case nothing has changed.
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

    /// Handles the pool's removal from the configuration. Its sessions follow `on_down`, and
    /// clients that wait for admission are still admitted; checks and discovery end, and their
    /// results and the operator's settings are dropped.
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

    /// Checks that the balancer of `config` supports its brokers and the discovered ones.
    ///
    /// # Errors
    /// If they are too heavy.
    pub(crate) fn check_fit(&self, config: &config::Pool) -> Result<(), WeightLimitExceeded> {
        self.upstreams_with(config).map(drop)
    }

    /// The brokers of `config`, and the discovered ones if it still uses them.
    fn upstreams_with(&self, config: &config::Pool) -> Result<Vec<Upstream>, WeightLimitExceeded> {
        let members = self.members();
        let discovered = members.discovered().filter(|_| config.discover.is_some());
        with_discovered(config, discovered.map(Member::upstream))
    }
}
