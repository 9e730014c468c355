//! The run-time pool: the single owner of the state of a configured pool.
//!
//! A reload sends it a configuration ([`Pool::reconfigure`]); its tasks (`upstream::tasks`) are
//! started once and follow the changes. State that a setting no longer needs is dropped at that
//! moment.
//!
//! This file holds the pool and what workers read from it. The other files change it, each for one
//! reason; `members`, `state`, `outage`, `weights` and `effects` are its parts and do not depend on
//! it.

mod effects;
mod follower;
mod forecast;
mod handed;
mod handed_outage;
mod health;
mod members;
mod moved;
mod operator;
mod outage;
mod overview;
mod passive;
mod reconfigure;
mod recovery;
mod replace_members;
mod state;
mod weights;

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::{broker::Broker, worker_signal::WorkerSignal};
use crate::{
    config,
    metrics::{Metrics, PoolMetrics},
};
use effects::PoolEffects;
pub(super) use follower::{PoolDropped, PoolFollower};
pub use health::ProbeResult;
pub(super) use members::with_discovered;
pub(crate) use members::{Member, MemberChanges, WeightLimitExceeded};
pub use members::{Members, router};
pub(crate) use operator::WeightError;
pub use outage::AllBrokersFailed;
pub use overview::{BrokerOverview, BrokerStatus};
pub use recovery::{RecoveryRound, RecoveryStep};
use state::PoolState;

/// The number of sessions per second moved away from brokers that are down or removed, if the pool
/// has no `rebalance`.
const DEFAULT_MOVES_PER_SECOND: u32 = 100;

/// One pool, shared by all threads. It lives as long as it is configured or has a session; its
/// tasks and metrics end with it.
pub struct Pool {
    pub name: Arc<str>,
    /// The hash of its name.
    id: u64,
    pub metrics: PoolMetrics,
    all_metrics: Metrics,
    /// The origin of the pool's times in milliseconds.
    started: Instant,
    /// Stored with the configuration that they were made from.
    members: ArcSwap<Members>,
    /// The epoch of `members`; a worker can read it without loading them.
    epoch: AtomicU64,
    /// Notified after each change of the members or the configuration; closed with the pool.
    changed: watch::Sender<()>,
    /// Locked during a decision, which takes microseconds. Nothing is logged and no thread is woken
    /// under the lock: see [`PoolEffects`].
    state: Mutex<PoolState>,
    /// How many times brokers have gone down, and how many times clients have come to belong to
    /// another broker. Workers compare the counts with those that they last acted on.
    down_count: AtomicU64,
    move_count: AtomicU64,
    failing_open: AtomicBool,
    /// Whether the next client that a broker answers shows that the pool serves.
    awaits_success: AtomicBool,
    /// Notified when the brokers have to be probed to find out whether the pool serves.
    recovery_due: Arc<Notify>,
    /// Raised when `down_count` or `move_count` has changed.
    signal: Arc<WorkerSignal>,
    /// When the next session may be moved, on any worker.
    next_move: Mutex<Instant>,
    /// Notified when a client has to wait for admission to one of the brokers.
    queued: Arc<Notify>,
}

impl Pool {
    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// The pool's current configuration.
    pub fn config(&self) -> Arc<config::Pool> {
        self.members.load().config.clone()
    }

    /// The hash of the pool's name: the same for every pool of that name.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A number that changes whenever the members or the configuration do.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// How many times a broker has gone down. When it changes, workers have to handle the sessions
    /// of such brokers.
    pub fn down_count(&self) -> u64 {
        self.down_count.load(Ordering::Acquire)
    }

    /// How many times clients have come to belong to a different broker.
    pub fn move_count(&self) -> u64 {
        self.move_count.load(Ordering::Acquire)
    }

    /// Has the workers look for sessions that belong elsewhere, as the rules of a listener have
    /// changed.
    pub fn note_rules_changed(&self) {
        self.move_count.fetch_add(1, Ordering::Release);
        self.signal.raise();
    }

    /// The time at which one more session may be moved: to its preferred broker, or away from a
    /// broker that is down or removed. All workers together keep to the pool's `rebalance.rate`.
    pub fn next_move(&self, now: Instant) -> Instant {
        let rate = self.members.load().config.rebalance;
        let rate = rate.map_or(DEFAULT_MOVES_PER_SECOND, NonZeroU32::get);
        let mut next = self.next_move.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (*next).max(now);
        *next = at + Duration::from_secs(1) / rate;
        at
    }

    /// Whether any broker accepts a new session now.
    pub fn can_serve(&self) -> bool {
        self.members.load().list.iter().any(|member| member.broker.load().is_some())
    }

    /// Whether so many brokers look down that all of them are tried.
    pub fn is_failing_open(&self) -> bool {
        self.failing_open.load(Ordering::Relaxed)
    }

    /// The progress of a broker's slow start, from 0 to 1; 1 means that it is complete.
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

    /// Admits waiting clients as far as there are tokens; true if others still wait.
    pub fn release(&self, now: Instant) -> bool {
        let members = self.members();
        // Every queue is released, not only those up to the first one that is not empty.
        let waiting = members.list.iter().filter(|member| member.broker.admission.release(now));
        waiting.count() > 0
    }

    /// Notified when the brokers have to be probed.
    pub(super) fn recovery_due(&self) -> Arc<Notify> {
        self.recovery_due.clone()
    }

    /// Notified when a client has to wait for admission.
    pub(super) fn queued(&self) -> Arc<Notify> {
        self.queued.clone()
    }

    /// `at` in milliseconds since the pool's start.
    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }

    /// Changes the state, and applies the effects once its lock is free.
    fn change<T>(&self, change: impl FnOnce(&mut PoolState, &mut PoolEffects) -> T) -> T {
        let mut effects = PoolEffects::default();
        let changed = change(&mut self.state(), &mut effects);
        self.apply(&effects);
        changed
    }

    /// Informs the operator and the workers.
    fn apply(&self, effects: &PoolEffects) {
        for event in &effects.events {
            event.log(&self.name);
        }
        if effects.went_down {
            self.down_count.fetch_add(1, Ordering::Release);
        }
        if effects.moved {
            self.move_count.fetch_add(1, Ordering::Release);
        }
        if effects.went_down || effects.moved {
            self.signal.raise();
        }
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
