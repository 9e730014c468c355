//! A pool: its brokers and who they are; what is thought of each of them is `judgement`'s.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    bell::Bell,
    broker::Broker,
    condition::Condition,
    members::{Members, router},
    overrides::Overrides,
};
use crate::{
    config,
    observe::{Metrics, PoolMetrics},
};

/// Sessions a second that leave removed brokers, where the pool has no `rebalance`.
const MOVES: u32 = 100;

/// One pool of the configuration, running. Shared by all threads.
pub struct Pool {
    pub name: Arc<str>,
    /// The hash of its name.
    id: u64,
    pub metrics: PoolMetrics,
    pub(super) all_metrics: Metrics,
    pub(super) started: Instant,
    pub(super) members: ArcSwap<Members>,
    /// The members' own, where a worker can look at it without taking them.
    pub(super) epoch: AtomicU64,
    /// Held while something is judged, which takes microseconds.
    pub(super) judged: Mutex<Judged>,
    /// How often brokers have died, and how often clients have come to have another home: what
    /// workers compare with what they last acted on.
    pub(super) deaths: AtomicU64,
    pub(super) moves: AtomicU64,
    pub(super) failing_open: AtomicBool,
    /// Rung when `deaths` or `moves` have changed.
    bell: Arc<Bell>,
    /// When the next session may be sent home, whichever worker has it.
    next_move: Mutex<Instant>,
    /// Told when a client has to wait for admission to one of the brokers.
    pub(super) queued: Arc<Notify>,
}

#[derive(Default)]
pub(super) struct Judged {
    pub(super) conditions: HashMap<Arc<str>, Condition>,
    pub(super) overrides: Overrides,
    /// No longer members, but with sessions; kept so that one that returns is the same again, and
    /// so that who waits at its door is let in.
    pub(super) retired: Vec<Arc<Broker>>,
    /// Clients are elsewhere whose broker was well again at once.
    pub(super) displaced: bool,
    /// When that was last seen to.
    pub(super) called_home: Option<Instant>,
}

impl Pool {
    /// `bell` is rung when workers have something to look at: [`Pool::deaths`], [`Pool::moves`].
    pub fn new(config: &config::Pool, metrics: &Metrics, bell: Arc<Bell>) -> Self {
        Self::new_at(config, metrics, bell, Instant::now())
    }

    /// A pool whose time begins at `started`, which may be virtual.
    pub fn new_at(
        config: &config::Pool,
        metrics: &Metrics,
        bell: Arc<Bell>,
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
            judged: Mutex::default(),
            deaths: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            failing_open: AtomicBool::new(false),
            bell,
            next_move: Mutex::new(started),
            queued: Arc::default(),
        };
        let mut judged = pool.judged();
        pool.replace_members(&mut judged, pool.config(), &config.upstreams, &|_| {});
        pool.judge(&mut judged, pool.started);
        drop(judged);
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

    /// Changes with the members.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// How often a broker has died: sessions on dead brokers are to be looked at when it changes.
    pub fn deaths(&self) -> u64 {
        self.deaths.load(Ordering::Acquire)
    }

    /// How often clients have come to have another home than before.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// The time at which one more session may be sent home, or from a broker that was removed, so
    /// that all workers together keep to the pool's `rebalance.rate`.
    pub fn next_move(&self, now: Instant) -> Instant {
        let rate = self.members.load().config.rebalance.map_or(MOVES, NonZeroU32::get);
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
        let since = broker.standing.warming_since.load(Ordering::Relaxed);
        match self.members.load().config.slow_start {
            Some(span) if since > 0 => {
                let began = self.started + Duration::from_millis(since);
                let elapsed = now.saturating_duration_since(began);
                (elapsed.as_secs_f64() / span.as_secs_f64()).min(1.0)
            }
            _ => 1.0,
        }
    }

    /// Waits until a client has to wait at a broker's door.
    pub async fn queued(&self) {
        self.queued.notified().await;
    }

    /// Lets in those who wait at the brokers' doors and whose turn it is; true if others still wait.
    pub fn release(&self, now: Instant) -> bool {
        let judged = self.judged();
        let members = self.members();
        let all = members.list.iter().map(|member| &member.broker).chain(&judged.retired);
        // All doors are looked at, not only those up to the first queue.
        all.filter(|broker| broker.release(now)).count() > 0
    }

    pub(super) fn announce(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Release);
        self.bell.ring();
    }

    pub(super) fn judged(&self) -> MutexGuard<'_, Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
