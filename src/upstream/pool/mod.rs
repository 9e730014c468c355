//! The run-time pool: one owner for all that is remembered of a pool of the configuration.
//!
//! A reload sends it a configuration ([`Pool::reconfigure`]); its tasks ([`tasks`]) were started
//! once, and follow. What a setting no longer asks for is forgotten at that moment.

mod clients;
mod effects;
mod forecast;
mod health;
mod members;
mod outage;
mod overview;
mod tasks;
mod weights;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use xxhash_rust::xxh3::xxh3_64;

use super::{broker::Broker, health::HealthState, worker_signal::WorkerSignal};
use crate::{
    config,
    metrics::{Metrics, PoolMetrics},
};
use effects::Effects;
pub use forecast::{Forecast, NoKey};
pub use health::{Probed, UnknownBroker};
pub(super) use members::with_discovered;
pub use members::{Changes, Member, Members, router};
use outage::Outage;
pub use outage::{Look, Refused, Round};
pub use overview::{Overview, PoolStatus};
pub use tasks::Pending;
pub(super) use tasks::{Followed, Gone};
pub use weights::WeightError;
use weights::Weights;

/// Sessions a second that leave brokers which are down or removed, where the pool has no
/// `rebalance`.
const MOVES_PER_SECOND: u32 = 100;

/// One pool, shared by all threads. It lives for as long as the configuration has it or a session
/// of it is there; its tasks and its metrics end with it.
pub struct Pool {
    pub name: Arc<str>,
    /// The hash of its name.
    id: u64,
    pub metrics: PoolMetrics,
    all_metrics: Metrics,
    started: Instant,
    /// With the configuration that they were made by.
    members: ArcSwap<Members>,
    /// The members' own, where a worker can look at it without taking them.
    epoch: AtomicU64,
    /// Sent after each change of the members or the configuration; closed with the pool.
    changed: watch::Sender<()>,
    /// Held while something is decided, which takes microseconds. Nothing is logged, and nobody is
    /// woken, under it: see [`Effects`].
    state: Mutex<PoolState>,
    /// How often brokers have died, and how often clients have come to belong to another broker:
    /// what workers compare with what they last acted on.
    deaths: AtomicU64,
    moves: AtomicU64,
    failing_open: AtomicBool,
    /// Whether the next client that a broker answers shows that the pool serves.
    awaits_success: AtomicBool,
    /// Told when it is to be found out whether the pool serves anybody.
    refusing: Arc<Notify>,
    /// Rung when `deaths` or `moves` have changed.
    signal: Arc<WorkerSignal>,
    /// When the next session may be moved, whichever worker has it.
    next_move: Mutex<Instant>,
    /// Told when a client has to wait for admission to one of the brokers.
    queued: Arc<Notify>,
}

#[derive(Default)]
struct PoolState {
    /// Of each member, by its name.
    health: HashMap<Arc<str>, HealthState>,
    weights: Weights,
    /// No longer members, but somebody holds them: one that returns is the same broker again. By
    /// name, of which there is never a second one.
    departed: HashMap<Arc<str>, Weak<Broker>>,
    /// Clients are elsewhere whose broker was well again at once.
    displaced: bool,
    /// When that was last seen to.
    called_home: Option<Instant>,
    /// Brokers that the checks have found down, which may be due to a fault of all.
    held: u32,
    /// `None` while no client is refused because all brokers fail.
    outage: Option<Outage>,
}

impl Pool {
    /// A pool whose tasks have yet to be [started](Pool::start). `signal` is rung when workers have
    /// something to look at: [`Pool::deaths`], [`Pool::moves`].
    pub fn new(config: &config::Pool, metrics: &Metrics, signal: Arc<WorkerSignal>) -> Self {
        Self::new_at(config, metrics, signal, Instant::now())
    }

    /// A pool whose time begins at `started`, which may be virtual.
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
            members: ArcSwap::from_pointee(Members {
                epoch: 0,
                config: Arc::new(config.clone()),
                list: Vec::new(),
                router: router(config.balance.algorithm, &[]),
            }),
            epoch: AtomicU64::new(0),
            changed: watch::Sender::new(()),
            state: Mutex::default(),
            deaths: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            failing_open: AtomicBool::new(false),
            awaits_success: AtomicBool::new(false),
            refusing: Arc::default(),
            signal,
            next_move: Mutex::new(started),
            queued: Arc::default(),
        };
        pool.reconfigure(config, &|_| {}, started);
        pool
    }

    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// What the configuration says of it now.
    pub fn config(&self) -> Arc<config::Pool> {
        self.members.load().config.clone()
    }

    /// The hash of its name, which is the same for as long as the pool is called that.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Changes with the members and with the configuration.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// How often a broker has died: sessions on dead brokers are to be looked at when it changes.
    pub fn deaths(&self) -> u64 {
        self.deaths.load(Ordering::Acquire)
    }

    /// How often clients have come to belong to another broker than before.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// The time at which one more session may be moved: to the broker it belongs to, or from one
    /// that is down or was removed. All workers together keep to the pool's `rebalance.rate`.
    pub fn next_move(&self, now: Instant) -> Instant {
        let rate = self.members.load().config.rebalance.map_or(MOVES_PER_SECOND, NonZeroU32::get);
        let mut next = self.next_move.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (*next).max(now);
        *next = at + Duration::from_secs(1) / rate;
        at
    }

    /// Whether a new session could go anywhere at all.
    pub fn can_serve(&self) -> bool {
        self.members.load().list.iter().any(|member| member.broker.load().is_some())
    }

    /// Whether so many brokers look down that none is held to be.
    pub fn is_failing_open(&self) -> bool {
        self.failing_open.load(Ordering::Relaxed)
    }

    /// How far a broker is in its slow start, from 0 to 1, which is its end.
    pub fn warmth(&self, broker: &Broker, now: Instant) -> f64 {
        let since = broker.flags.warming_since.load(Ordering::Relaxed);
        match self.members.load().config.slow_start {
            Some(span) if since > 0 => {
                let began = self.started + Duration::from_millis(since);
                let elapsed = now.saturating_duration_since(began);
                (elapsed.as_secs_f64() / span.as_secs_f64()).min(1.0)
            }
            _ => 1.0,
        }
    }

    /// Releases those who wait for admission to a broker and whose turn it is; true if others
    /// still wait.
    pub fn release(&self, now: Instant) -> bool {
        let members = self.members();
        // All queues are looked at, not only those up to the first that is not empty.
        let waiting = members.list.iter().filter(|member| member.broker.admission.release(now));
        waiting.count() > 0
    }

    /// The time of the pool's life.
    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }

    /// Changes the state, and does what that calls for once its lock is free.
    fn change<T>(&self, change: impl FnOnce(&mut PoolState, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let changed = change(&mut self.state(), &mut effects);
        effects.take_place(self);
        changed
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
