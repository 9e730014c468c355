//! One pool, its brokers, its clients and its operator.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use mqtt_lb::testing::{
    config::{self, ActiveCheck},
    limits::AdmissionOutcome,
    metrics::Metrics,
    upstream::{
        AllBrokersFailed, Broker, BrokerState, Endpoint, Lease, Pick, Pool, ProbeResult,
        RecoveryRound, RecoveryStep,
    },
};

use crate::{
    config::{BROKERS, DISCOVERED, discovered, draw},
    waiter::Waiter,
};

pub(crate) struct World {
    rng: Rng,
    pub(crate) now: Instant,
    pub(crate) pool: Pool,
    pub(crate) metrics: Metrics,
    pub(crate) retired: bool,
    /// By the broker's number; what a probe or a client finds out.
    alive: [bool; BROKERS as usize],
    pub(crate) steps: usize,
    sessions: Vec<Session>,
    /// When the last session was to be moved.
    moved: Option<Instant>,
    dialling: Vec<Dial>,
    pub(crate) waiters: Vec<Waiter>,
    probes: Vec<Probe>,
    /// Whether a client was refused by brokers since the last reload.
    pub(crate) refused: bool,
    /// The proxy's own look at the brokers that is under way.
    round: Option<RecoveryRound>,
}

struct Session {
    lease: Lease,
    key: String,
}

/// A client that is on its way to a broker.
struct Dial {
    lease: Lease,
    key: String,
    began: Instant,
}

/// A check that is under way.
struct Probe {
    broker: Arc<Broker>,
    endpoint: Arc<Endpoint>,
    check: ActiveCheck,
    began: Instant,
    good: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (metrics, now) = (Metrics::new(), Instant::now());
        let pool = Pool::new_at(&draw(&mut rng), &metrics, Arc::default(), now);
        Self {
            rng,
            now,
            pool,
            metrics,
            retired: false,
            alive: [true; BROKERS as usize],
            steps: 0,
            sessions: Vec::new(),
            moved: None,
            dialling: Vec::new(),
            waiters: Vec::new(),
            probes: Vec::new(),
            refused: false,
            round: None,
        }
    }

    /// Leases of sessions and of those on their way.
    pub(crate) fn leases(&self) -> impl Iterator<Item = &Lease> {
        let sessions = self.sessions.iter().map(|session| &session.lease);
        sessions.chain(self.dialling.iter().map(|dial| &dial.lease))
    }

    /// Brokers that a session, a waiting client or a check holds, members or not.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Arc<Broker>> {
        let leases = self.leases().map(Lease::broker);
        leases
            .chain(self.waiters.iter().map(|waiter| &waiter.broker))
            .chain(self.probes.iter().map(|probe| &probe.broker))
            .chain(
                self.round.iter().flat_map(|round| round.brokers.iter().map(|(broker, _)| broker)),
            )
    }

    /// Something happens; says what.
    pub(crate) fn step(&mut self) -> String {
        self.steps += 1;
        match self.rng.u8(..26) {
            0 | 1 => self.reload(),
            2 => self.discover(),
            3 => self.operate(),
            4 => self.fail_or_recover(),
            5..=7 => self.begin_probe(),
            8..=10 => self.end_probe(),
            11..=14 => self.connect(),
            15 | 16 => self.end_dial(),
            17 => self.leave(),
            18 | 19 => self.rebalance(),
            20 | 21 => self.refuse(),
            22 | 23 => self.look(),
            _ => {
                let millis = self.rng.u64(1..1500);
                self.pass(Duration::from_millis(millis))
            }
        }
    }

    /// Whatever happened before: with brokers that are well, in time all are served.
    pub(crate) fn settle(mut self) {
        self.alive = [true; BROKERS as usize];
        self.probes.clear();
        self.dialling.clear();
        if self.retired {
            self.reload();
        }
        for broker in self.names() {
            self.pool.set_state(&broker, BrokerState::Ready, self.now).unwrap();
        }
        // As long as the longest ejection, and a slow start.
        for _ in 0..330 {
            self.tick(Duration::from_secs(1));
            for broker in self.brokers() {
                self.probes.extend(probe(&self.pool, &broker, true, self.now));
            }
            while !self.probes.is_empty() {
                self.end_probe();
            }
            self.look();
            for broker in self.brokers() {
                // A trial that a client takes and that succeeds.
                if let Ok(lease) = broker.lease() {
                    lease.settle();
                    self.pool.record_success(lease.broker(), self.now);
                }
            }
        }
        assert!(self.waiters.is_empty(), "{} clients still wait", self.waiters.len());
        for broker in self.brokers() {
            assert!(broker.is_serving(), "{} does not serve", broker.name);
            assert!(!broker.is_down() && !broker.is_leaving(), "{} is given up", broker.name);
        }
        assert!(!self.pool.is_failing_open());
        assert_eq!(self.pool.not_serving(), None);
    }

    fn reload(&mut self) -> String {
        if !self.retired && self.rng.u8(..6) == 0 {
            self.pool.retire(self.now);
            (self.retired, self.refused) = (true, false);
            return "the pool is removed".into();
        }
        let config = draw(&mut self.rng);
        let changes = self.pool.reconfigure(&config, &|_| {}, self.now);
        (self.retired, self.refused) = (false, false);
        format!("reload: {changes:?} {:?} {:?}", config.health, config.admission)
    }

    fn discover(&mut self) -> String {
        let Some(from) = self.pool.config().discover.clone() else { return "no discovery".into() };
        let ids: Vec<_> = DISCOVERED.filter(|_| self.rng.bool()).collect();
        let found: Vec<_> = ids.into_iter().map(|id| discovered(&mut self.rng, id)).collect();
        let changes = self.pool.set_discovered(&from, &found, &|_| {}, self.now).unwrap();
        format!("discovered: {changes:?}")
    }

    fn operate(&mut self) -> String {
        let Some(name) = self.some(&self.names()) else { return "no broker".into() };
        if self.rng.bool() {
            let state = self
                .rng
                .choice([BrokerState::Ready, BrokerState::Draining, BrokerState::Down])
                .unwrap();
            self.pool.set_state(&name, state, self.now).unwrap();
            return format!("{name} is set {state:?}");
        }
        let weight = std::num::NonZeroU32::new(self.rng.u32(..4));
        self.pool.set_weight(&name, weight).unwrap();
        format!("{name} weighs {weight:?}")
    }

    fn fail_or_recover(&mut self) -> String {
        let id = self.rng.usize(..self.alive.len());
        // Now and then a fault that all share.
        if self.rng.u8(..4) == 0 {
            let alive = self.rng.bool();
            self.alive = [alive; BROKERS as usize];
            return format!("all are alive: {alive}");
        }
        self.alive[id] = !self.alive[id];
        format!("b{id} is alive: {}", self.alive[id])
    }

    fn begin_probe(&mut self) -> String {
        let brokers = self.brokers();
        let Some(broker) = self.some(&brokers) else { return "no broker".into() };
        let good = self.is_alive(&broker);
        let probe = probe(&self.pool, &broker, good, self.now);
        let begun = probe.is_some();
        self.probes.extend(probe);
        format!("{} is asked: {begun}", broker.name)
    }

    /// Any of them: answers come in any order, and after reloads.
    fn end_probe(&mut self) -> String {
        if self.probes.is_empty() {
            return "no probe".into();
        }
        let at = self.rng.usize(..self.probes.len());
        let Probe { broker, endpoint, check, began, good } = self.probes.swap_remove(at);
        let outcome = if good { Ok(()) } else { Err("refused") };
        let (broker, endpoint, check) = (&*broker, &endpoint, &check);
        self.pool.record_probe(&ProbeResult { broker, endpoint, check, began, outcome }, self.now);
        format!("{} has answered: {good}", broker.name)
    }

    fn connect(&mut self) -> String {
        let key = format!("client-{}", self.rng.u16(..200));
        let Some(broker) = self.pick(&key) else { return "no broker serves".into() };
        if broker.admission.try_enter(self.now) {
            return self.dial(broker, key);
        }
        match Waiter::new(broker, key.clone(), self.now) {
            Ok(waiter) => {
                let name = waiter.broker.name.clone();
                self.waiters.push(waiter);
                format!("{key} waits for {name}")
            }
            Err(broker) => self.dial(broker, key),
        }
    }

    fn dial(&mut self, broker: Arc<Broker>, key: String) -> String {
        let name = broker.name.clone();
        let Ok(lease) = broker.lease() else { return format!("{name} has no place") };
        self.dialling.push(Dial { lease, key, began: self.now });
        format!("{name} is dialled")
    }

    fn end_dial(&mut self) -> String {
        if self.dialling.is_empty() {
            return "nobody dials".into();
        }
        let at = self.rng.usize(..self.dialling.len());
        let Dial { lease, key, began } = self.dialling.swap_remove(at);
        let broker = lease.broker().clone();
        if self.rng.u8(..5) == 0 {
            return format!("a client of {} leaves before its CONNACK", broker.name);
        }
        lease.settle();
        if self.is_alive(&broker) {
            self.pool.record_success(&broker, self.now);
            self.sessions.push(Session { lease, key });
            return format!("{} takes a client", broker.name);
        }
        drop(lease);
        if self.rng.bool() {
            self.pool.record_lone_failure(&broker, began, self.now);
            return format!("{} fails a client that nobody takes", broker.name);
        }
        self.pool.record_failure(&broker, began, self.now);
        format!("{} fails a client", broker.name)
    }

    /// A client that no broker takes.
    fn refuse(&mut self) -> String {
        let how = if self.rng.bool() {
            AllBrokersFailed::Unreachable
        } else {
            AllBrokersFailed::Unanswered(self.rng.u64(..5))
        };
        self.pool.record_refusal(how, self.now);
        self.refused = true;
        format!("a client is refused: {how:?}")
    }

    /// A round begins, or ends after whatever has happened since.
    fn look(&mut self) -> String {
        let Some(round) = self.round.take() else {
            self.round = self.pool.recovery_round();
            return format!("brokers are looked at: {:?}", self.round.is_some());
        };
        let mut errors = Vec::new();
        for (broker, look) in &round.brokers {
            let error = match look {
                RecoveryStep::Serves => None,
                RecoveryStep::Closed(why) => Some(*why),
                RecoveryStep::Probe => (!self.is_alive(broker)).then_some("refused"),
            };
            let Some(error) = error else {
                self.pool.recovery_succeeded(&round, self.now);
                return format!("{} answers in a round", broker.name);
            };
            errors.push((broker.name.clone(), error.to_owned()));
        }
        self.pool.recovery_failed(&round, &errors, self.now);
        format!("nobody answers in a round of {}", errors.len())
    }

    fn leave(&mut self) -> String {
        if !self.waiters.is_empty() && self.rng.bool() {
            let at = self.rng.usize(..self.waiters.len());
            let waiter = self.waiters.swap_remove(at);
            return format!("a client does not wait for {} any more", waiter.broker.name);
        }
        if self.sessions.is_empty() {
            return "no session".into();
        }
        let at = self.rng.usize(..self.sessions.len());
        format!("a session of {} ends", self.sessions.swap_remove(at).lease.broker().name)
    }

    /// A session that belongs elsewhere is ended when its turn has come, and its client comes back.
    fn rebalance(&mut self) -> String {
        if self.pool.config().rebalance.is_none() || self.sessions.is_empty() {
            return "nothing is rebalanced".into();
        }
        let at = self.rng.usize(..self.sessions.len());
        let Session { lease, key } = &self.sessions[at];
        let own = lease.broker().clone();
        let members = self.pool.members();
        let router = RefCell::new(members.router.clone());
        let (pool, members, now) = (&self.pool, &*members, self.now);
        let pick = Pick { pool, members, router: &router, key: Some(key.as_bytes()), now };
        let Some(target) = pick.preferred_broker(&own).cloned() else {
            return format!("{key} stays");
        };
        assert!(own.is_leaving() || own.is_serving(), "{} only looks down", own.name);
        assert!(
            target.load().is_some() && target.id() != own.id(),
            "{} is no way out",
            target.name
        );
        let due = self.pool.next_move(self.now);
        assert!(due >= self.now && Some(due) > self.moved, "two sessions are moved at once");
        self.moved = Some(due);
        let Session { lease, key } = self.sessions.swap_remove(at);
        drop(lease);
        self.dial(target, key)
    }

    /// Time passes, and with it what the pool's tasks do.
    fn pass(&mut self, span: Duration) -> String {
        let until = self.now + span;
        while self.now < until {
            self.tick(Duration::from_millis(100));
        }
        format!("{span:?} pass")
    }

    fn tick(&mut self, span: Duration) {
        self.now += span;
        self.pool.tick(self.now);
        self.pool.release(self.now);
        self.take_turns();
    }

    /// Those who were released go on, as a worker's tasks do.
    fn take_turns(&mut self) {
        let mut waiting = Vec::new();
        for mut waiter in std::mem::take(&mut self.waiters) {
            match waiter.decision() {
                None => waiting.push(waiter),
                Some(AdmissionOutcome::Admitted) => {
                    self.dial(waiter.broker.clone(), waiter.key.clone());
                }
                Some(AdmissionOutcome::TimedOut) => {}
            }
        }
        self.waiters = waiting;
    }

    fn pick(&mut self, key: &str) -> Option<Arc<Broker>> {
        let members = self.pool.members();
        let router = RefCell::new(members.router.clone());
        let (pool, members, now) = (&self.pool, &*members, self.now);
        let pick = Pick { pool, members, router: &router, key: Some(key.as_bytes()), now };
        let load = |index: usize| members.list[index].broker.load();
        let picked = pick.best(&load).map(|at| members.list[at].broker.clone());
        assert_eq!(picked.is_some(), pool.can_serve());
        picked
    }

    fn is_alive(&self, broker: &Broker) -> bool {
        let id: usize = broker.name[1..].parse().unwrap();
        self.alive[id]
    }

    pub(crate) fn brokers(&self) -> Vec<Arc<Broker>> {
        self.pool.members().list.iter().map(|member| member.broker.clone()).collect()
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.brokers().iter().map(|broker| broker.name.clone()).collect()
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        self.rng.choice(of).cloned()
    }
}

/// A check of a broker by the pool's configuration as it is now, if there are checks.
fn probe(pool: &Pool, broker: &Arc<Broker>, good: bool, began: Instant) -> Option<Probe> {
    let check = config::Pool::clone(&pool.config()).health.active?;
    let (broker, endpoint) = (broker.clone(), broker.endpoint());
    Some(Probe { broker, endpoint, check, began, good })
}
