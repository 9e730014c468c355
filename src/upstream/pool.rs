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

use super::{
    bell::Bell,
    broker::{Broker, Serving},
    condition::Condition,
    overrides::Overrides,
};
use crate::{
    config::{self, PoolTls},
    observe::{Metrics, PoolMetrics},
    route::{self, Algorithm, Router},
};

/// One pool of the configuration, running. Shared by all threads.
pub struct Pool {
    pub config: config::Pool,
    /// TLS to the brokers as it is now.
    tls: Option<ArcSwap<PoolTls>>,
    pub metrics: PoolMetrics,
    pub(super) all_metrics: Metrics,
    pub(super) started: Instant,
    pub(super) members: ArcSwap<Members>,
    /// The members' own, where a worker can look at it without taking them.
    epoch: AtomicU64,
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
    queued: Arc<Notify>,
}

/// The brokers of a pool at one time, and the balancers over them.
pub struct Members {
    pub epoch: u64,
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

#[derive(Default)]
pub(super) struct Judged {
    pub(super) conditions: HashMap<Arc<str>, Condition>,
    pub(super) overrides: Overrides,
    /// No longer members, but with sessions; kept so that one that returns is the same again.
    pub(super) retired: Vec<Arc<Broker>>,
    /// Clients are elsewhere whose broker was well again at once.
    pub(super) displaced: bool,
    /// When that was last seen to.
    pub(super) called_home: Option<Instant>,
}

/// How a pool's members have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<Arc<str>>,
    pub removed: Vec<Arc<str>>,
    /// Weight or rank.
    pub changed: Vec<Arc<str>>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
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
            config: config.clone(),
            tls: config.tls.clone().map(ArcSwap::from_pointee),
            metrics: metrics.pool(&config.name),
            all_metrics: metrics.clone(),
            started,
            members: ArcSwap::from_pointee(Members {
                epoch: 0,
                list: Vec::new(),
                router: Router::new(config.balance.algorithm, &[]),
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
        pool.replace_members(&mut judged, &config.upstreams, &|_| {});
        pool.judge(&mut judged, pool.started);
        drop(judged);
        pool
    }

    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// TLS to the brokers; `None` where they are reached without.
    pub fn tls(&self) -> Option<Arc<PoolTls>> {
        self.tls.as_ref().map(ArcSwap::load_full)
    }

    /// Has all later dials and checks go by `tls`; nothing for a pool without.
    pub fn renew_tls(&self, tls: &PoolTls) {
        if let Some(held) = &self.tls {
            held.store(Arc::new(tls.clone()));
        }
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

    /// Whether it has, or may come to have, more than one broker.
    pub fn can_have_several(&self) -> bool {
        self.config.discover.is_some() || self.config.upstreams.len() > 1
    }

    /// The time at which one more session may be sent home, so that all workers together keep to
    /// the pool's `rebalance.rate`.
    pub fn next_move(&self, now: Instant) -> Instant {
        let Some(rate) = self.config.rebalance else { return now };
        let mut next = self.next_move.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (*next).max(now);
        *next = at + Duration::from_secs(1) / rate.get();
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
        let since = broker.warming_since.load(Ordering::Relaxed);
        match self.config.slow_start {
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

    /// Makes these the pool's brokers. Those that were members already stay as they are, with their
    /// sessions and all that is known of them. `prepare` sees each before clients can be given it.
    pub fn set_members(
        &self,
        upstreams: &[config::Upstream],
        prepare: &dyn Fn(&Broker),
        now: Instant,
    ) -> Changes {
        let mut judged = self.judged();
        let changes = self.replace_members(&mut judged, upstreams, prepare);
        if !changes.is_empty() {
            self.judge(&mut judged, now);
        }
        if !changes.removed.is_empty() || !changes.changed.is_empty() {
            self.announce(&self.moves);
        }
        changes
    }

    fn replace_members(
        &self,
        judged: &mut Judged,
        upstreams: &[config::Upstream],
        prepare: &dyn Fn(&Broker),
    ) -> Changes {
        let before = self.members();
        let mut leaving: HashMap<_, _> =
            before.list.iter().map(|member| (&*member.broker.name, member)).collect();
        let mut changes = Changes::default();
        let mut list = Vec::with_capacity(upstreams.len());
        judged.overrides.check(&self.config, upstreams);
        for upstream in upstreams {
            let (configured_weight, backup) = (upstream.weight, upstream.backup);
            let weight = judged.overrides.weight_of(upstream);
            let broker = if let Some(member) = leaving.remove(&*upstream.name) {
                let before = (member.weight, member.configured_weight, member.backup);
                if before != (weight, configured_weight, backup) {
                    changes.changed.push(upstream.name.clone());
                }
                member.broker.clone()
            } else {
                changes.added.push(upstream.name.clone());
                let retired = judged.retired.extract_if(.., |old| old.name == upstream.name).next();
                judged.conditions.insert(upstream.name.clone(), Condition::default());
                retired.unwrap_or_else(|| {
                    Arc::new(Broker::new(&self.config, upstream, &self.all_metrics, &self.queued))
                })
            };
            prepare(&broker);
            list.push(Member { broker, weight, configured_weight, backup });
        }
        for Member { broker, .. } in &before.list {
            if leaving.contains_key(&*broker.name) {
                changes.removed.push(broker.name.clone());
                judged.conditions.remove(&broker.name);
                judged.overrides.forget(&broker.name);
                broker.leaving.store(true, Ordering::Relaxed);
                broker.up.store(false, Ordering::Relaxed);
                broker.set_serving(Serving::No);
                broker.metrics.up.set(0);
                judged.retired.push(broker.clone());
            }
        }
        if before.list.is_empty() {
            // Those that are there from the start have not returned from anywhere.
            for member in &list {
                member.broker.up.store(true, Ordering::Relaxed);
            }
        }
        if !changes.is_empty() {
            self.store_members(list);
        }
        changes
    }

    /// Makes these the members; to be called by who holds `judged`.
    pub(super) fn store_members(&self, list: Vec<Member>) {
        let epoch = self.members.load().epoch + 1;
        let brokers: Vec<_> = list
            .iter()
            .map(|Member { broker, weight, backup, .. }| route::Broker {
                name: broker.name.clone(),
                weight: *weight,
                backup: *backup,
            })
            .collect();
        let router = Router::new(self.config.balance.algorithm, &brokers);
        self.members.store(Arc::new(Members { epoch, list, router }));
        self.epoch.store(epoch, Ordering::Release);
    }

    pub(super) fn announce(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Release);
        self.bell.ring();
    }

    pub(super) fn judged(&self) -> MutexGuard<'_, Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The balancers over brokers as they are configured.
pub fn router(algorithm: Algorithm, upstreams: &[config::Upstream]) -> Router {
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
