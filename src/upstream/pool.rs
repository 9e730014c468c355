//! A pool: its brokers, and what is thought of each of them.

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
    condition::{Circuit, Condition, News, State},
};
use crate::{
    config,
    observe::{Metrics, PoolMetrics},
    route::{self, Algorithm, Router},
};

/// One pool of the configuration, running. Shared by all threads.
pub struct Pool {
    pub config: config::Pool,
    pub metrics: PoolMetrics,
    all_metrics: Metrics,
    started: Instant,
    members: ArcSwap<Members>,
    /// The members' own, where a worker can look at it without taking them.
    epoch: AtomicU64,
    /// Held while something is judged, which takes microseconds.
    judged: Mutex<Judged>,
    /// How often brokers have died, and how often clients have come to have another home: what
    /// workers compare with what they last acted on.
    deaths: AtomicU64,
    moves: AtomicU64,
    failing_open: AtomicBool,
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
    pub weight: NonZeroU32,
    pub backup: bool,
}

#[derive(Default)]
struct Judged {
    conditions: HashMap<Arc<str>, Condition>,
    /// No longer members, but with sessions; kept so that one that returns is the same again.
    retired: Vec<Arc<Broker>>,
    /// Clients are elsewhere whose broker was well again at once.
    displaced: bool,
    /// When that was last seen to.
    called_home: Option<Instant>,
}

/// The shortest time between two looks for displaced clients: each takes a look at every session.
const CALL_AGAIN: Duration = Duration::from_secs(2);

/// How long a broker waits for the client that is its trial, before another one is sent.
const TRIAL_AGAIN: Duration = Duration::from_secs(10);

/// There is no broker of that name in the pool.
#[derive(Debug, thiserror::Error)]
#[error("no broker {name} in pool {pool}")]
pub struct UnknownBroker {
    name: String,
    pool: Arc<str>,
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

    /// Sets what the operator wants of a broker.
    ///
    /// # Errors
    /// Where the pool has no such broker.
    pub fn set_state(&self, name: &str, state: State, now: Instant) -> Result<(), UnknownBroker> {
        let mut judged = self.judged();
        let Some(condition) = judged.conditions.get_mut(name) else {
            return Err(UnknownBroker { name: name.to_owned(), pool: self.config.name.clone() });
        };
        if condition.state != state {
            condition.state = state;
            tracing::info!(pool = %self.config.name, upstream = name, ?state, "set by the operator");
            self.judge(&mut judged, now);
        }
        Ok(())
    }

    /// Counts a probe of a broker; `Err` says what was wrong.
    pub fn probed(&self, broker: &Broker, outcome: Result<(), &str>, now: Instant) {
        let Some(check) = &self.config.health.active else { return };
        let mut judged = self.judged();
        let Some(condition) = judged.conditions.get_mut(&broker.name) else { return };
        let (pool, upstream) = (&self.config.name, &broker.name);
        match (condition.probed(outcome.is_ok(), check, now), outcome) {
            (News::None, _) => return,
            (News::Verdict, Ok(())) => {
                tracing::info!(%pool, %upstream, "up: its checks succeed again");
            }
            (News::Verdict, Err(error)) => {
                tracing::warn!(%pool, %upstream, error, "down: {} checks have failed", check.fall);
            }
            (News::Recovered, _) => {
                tracing::info!(%pool, %upstream, "back from ejection: its checks succeed");
            }
            (News::Displaced, _) => {
                judged.displaced = true;
                return;
            }
        }
        self.judge(&mut judged, now);
    }

    /// Counts a client that a broker failed, which was sent there at `began`.
    ///
    /// It is no failure if others were answered since: then the broker is there, and what failed is
    /// a packet or a place in a queue. A fleet that comes at once must not have it ejected.
    pub fn blame(&self, broker: &Broker, began: Instant, now: Instant) {
        let Some(passive) = &self.config.health.passive else { return };
        let mut judged = self.judged();
        let ejected = judged.conditions.values().filter(|other| other.is_ejected()).count();
        let most = self.members.load().list.len() * passive.max_ejected_percent as usize / 100;
        let Some(condition) = judged.conditions.get_mut(&broker.name) else { return };
        broker.suspect.store(true, Ordering::Relaxed);
        if broker.has_answered_since(self.millis(began)) {
            return condition.displaced();
        }
        if condition.failed(now, passive) && (condition.is_ejected() || ejected < most) {
            let span = condition.eject(now, passive);
            broker.metrics.ejections.inc();
            tracing::warn!(
                pool = %self.config.name, upstream = %broker.name,
                "ejected for {span:?}: it failed clients that others took"
            );
            self.judge(&mut judged, now);
        }
    }

    /// Notes that a broker answered a client.
    pub fn praise(&self, broker: &Broker, now: Instant) {
        broker.set_answered(self.millis(now));
        if !broker.suspect.load(Ordering::Relaxed) {
            return;
        }
        let mut judged = self.judged();
        broker.suspect.store(false, Ordering::Relaxed);
        let Some(condition) = judged.conditions.get_mut(&broker.name) else { return };
        match condition.answered(now) {
            News::Recovered => {
                tracing::info!(
                    pool = %self.config.name, upstream = %broker.name,
                    "back from ejection: it has taken a client again"
                );
                self.judge(&mut judged, now);
            }
            News::Displaced => judged.displaced = true,
            News::None | News::Verdict => {}
        }
    }

    /// What comes with time: ejections and slow starts that end. To be called every so often.
    pub fn tick(&self, now: Instant) {
        let mut judged = self.judged();
        let (mut over, mut trial) = (false, false);
        for condition in judged.conditions.values_mut() {
            let just_over = condition.tick(now);
            over |= just_over;
            trial |= just_over && condition.awaits_trial();
        }
        if over {
            self.judge(&mut judged, now);
        }
        self.call_home(&mut judged, trial, now);
        for Member { broker, .. } in &self.members.load().list {
            if broker.warming_since.load(Ordering::Relaxed) > 0 && self.warmth(broker, now) >= 1.0 {
                broker.warming_since.store(0, Ordering::Relaxed);
                self.announce(&self.moves);
            }
        }
        // Gone for good: no session has it, no worker, and no look-up is under way.
        for broker in judged.retired.extract_if(.., |broker| Arc::strong_count(broker) == 1) {
            self.all_metrics.forget_upstream(&self.config.name, &broker.name);
        }
    }

    /// Has sessions looked at that may belong elsewhere for a reason that nothing else announces:
    /// clients that a broker failed for a moment, and brokers that wait for a trial while all their
    /// clients are connected elsewhere.
    fn call_home(&self, judged: &mut Judged, trial: bool, now: Instant) {
        let since = judged.called_home.map(|at| now.saturating_duration_since(at));
        let due = |pause: Duration| since.is_none_or(|since| since >= pause);
        let awaits_trial = || judged.conditions.values().any(Condition::awaits_trial);
        let call =
            trial || judged.displaced && due(CALL_AGAIN) || due(TRIAL_AGAIN) && awaits_trial();
        if self.config.rebalance.is_some() && call {
            judged.displaced = false;
            judged.called_home = Some(now);
            self.announce(&self.moves);
        }
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
        for upstream in upstreams {
            let (weight, backup) = (upstream.weight, upstream.backup);
            let broker = if let Some(member) = leaving.remove(&*upstream.name) {
                if (member.weight, member.backup) != (weight, backup) {
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
            list.push(Member { broker, weight, backup });
        }
        for Member { broker, .. } in &before.list {
            if leaving.contains_key(&*broker.name) {
                changes.removed.push(broker.name.clone());
                judged.conditions.remove(&broker.name);
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
            let epoch = before.epoch + 1;
            let router = router(self.config.balance.algorithm, upstreams);
            self.members.store(Arc::new(Members { epoch, list, router }));
            self.epoch.store(epoch, Ordering::Release);
        }
        changes
    }

    /// Works out from all that is thought of them which brokers serve.
    fn judge(&self, judged: &mut Judged, now: Instant) {
        let members = self.members();
        let all: Vec<_> = members
            .list
            .iter()
            .filter_map(|member| {
                Some((&member.broker, judged.conditions.get(&member.broker.name)?))
            })
            .collect();
        let failing_open = self.judge_all(&all);
        let (mut died, mut moved) = (false, false);
        for (broker, condition) in all {
            let ready = condition.state == State::Ready;
            broker.set_serving(match condition.circuit() {
                _ if !ready => Serving::No,
                _ if failing_open => Serving::Yes,
                _ if condition.is_checked_down() => Serving::No,
                Circuit::Closed => Serving::Yes,
                Circuit::HalfOpen => Serving::Trial,
                Circuit::Ejected { .. } => Serving::No,
            });
            broker.suspect.store(condition.is_suspect(), Ordering::Relaxed);
            let up = ready && condition.looks_up();
            broker.metrics.up.set(up.into());
            let was_up = broker.up.swap(up, Ordering::Relaxed);
            let leaving = condition.state == State::Draining;
            moved |= leaving && !broker.leaving.swap(leaving, Ordering::Relaxed);
            broker.leaving.store(leaving, Ordering::Relaxed);
            let dead =
                condition.state == State::Down || condition.is_checked_down() && !failing_open;
            died |= dead && !broker.dead.swap(dead, Ordering::Relaxed);
            broker.dead.store(dead, Ordering::Relaxed);
            if up && !was_up {
                let warming = self.config.slow_start.is_some();
                let since = now.saturating_duration_since(self.started).as_millis() as u64;
                broker
                    .warming_since
                    .store(if warming { since.max(1) } else { 0 }, Ordering::Relaxed);
                moved |= !warming;
            }
        }
        if died {
            self.announce(&self.deaths);
        }
        if moved {
            self.announce(&self.moves);
        }
    }

    /// Whether so many look down that the verdicts, or the network they rest on, are to be doubted.
    fn judge_all(&self, all: &[(&Arc<Broker>, &Condition)]) -> bool {
        let ready = all.iter().filter(|(_, condition)| condition.state == State::Ready);
        let (mut count, mut bad) = (0, 0);
        for (_, condition) in ready {
            count += 1;
            bad += u32::from(!condition.looks_up());
        }
        let failing_open = self
            .config
            .health
            .fail_open_percent
            .is_some_and(|percent| bad > 0 && bad * 100 >= percent.get() * count);
        if self.failing_open.swap(failing_open, Ordering::Relaxed) != failing_open {
            self.metrics.failing_open.set(failing_open.into());
            let pool = &self.config.name;
            if failing_open {
                tracing::error!(
                    %pool,
                    "{bad} of {count} brokers look down, which is more likely a fault of the checks \
                     or the network: trying them all (health.fail_open_percent)"
                );
            } else {
                tracing::info!(%pool, "enough brokers are up again: the checks are trusted again");
            }
        }
        failing_open
    }

    /// The time of the pool's life.
    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }

    fn announce(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Release);
        self.bell.ring();
    }

    fn judged(&self) -> MutexGuard<'_, Judged> {
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
