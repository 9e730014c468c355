//! One proxy: a pool of its own, and what a worker does with it.

use std::{cell::RefCell, sync::Arc, time::Instant};

use mqtt_lb::testing::{
    balance::Router,
    config,
    metrics::Metrics,
    upstream::{Broker, BrokerState, Lease, Members, Pick, Pool, ProbeResult},
};

/// A broker, in all proxies alike: its place among all that there ever are.
pub(crate) type BrokerId = u8;

pub(crate) struct Proxy {
    pub(crate) pool: Arc<Pool>,
    /// What DNS is asked for: all brokers are discovered.
    from: config::Discover,
    members: Arc<Members>,
    router: RefCell<Router>,
    /// Of the members, in their order.
    ids: Vec<BrokerId>,
    /// The broker that only this proxy's probes do not reach.
    pub(crate) blind_to: Option<BrokerId>,
    /// What [`Pool::down_count`] and [`Pool::move_count`] were when they were last acted on.
    deaths: u64,
    moves: u64,
    /// When they connected, and the clients to be looked at; the next one last.
    pub(crate) rebalancing: Vec<(u32, u32)>,
    /// When the next of them may be sent home.
    pub(crate) next_move: Instant,
}

impl Proxy {
    pub(crate) fn new(config: &config::Pool, started: Instant) -> Self {
        let from = config.discover.clone().expect("a pool whose brokers come from DNS");
        let discovered = config::Pool { upstreams: Vec::new(), ..config.clone() };
        let pool = Pool::new_at(&discovered, &Metrics::new(), Arc::default(), started);
        pool.set_discovered(&from, &config.upstreams, &|_| {}, started).unwrap();
        let members = pool.members();
        Self {
            from,
            router: RefCell::new(members.router.clone()),
            ids: ids(&members),
            members,
            blind_to: None,
            deaths: pool.down_count(),
            moves: pool.move_count(),
            rebalancing: Vec::new(),
            next_move: started,
            pool: Arc::new(pool),
        }
    }

    pub(crate) fn set_members(&mut self, upstreams: &[config::Upstream], now: Instant) {
        self.pool.set_discovered(&self.from, upstreams, &|_| {}, now).unwrap();
        self.members = self.pool.members();
        self.router.replace(self.members.router.clone());
        self.ids = ids(&self.members);
    }

    pub(crate) fn set_state(&self, broker: BrokerId, state: BrokerState, now: Instant) {
        if let Some(broker) = self.broker(broker) {
            self.pool.set_state(&broker.name, state, now).unwrap();
        }
    }

    pub(crate) fn probe(&self, id: BrokerId, alive: bool, now: Instant) {
        if let Some(broker) = self.broker(id) {
            let good = alive && self.blind_to != Some(id);
            let config = self.pool.config();
            let Some(check) = &config.health.active else { return };
            let probed = ProbeResult {
                broker,
                endpoint: &broker.endpoint(),
                check,
                began: now,
                outcome: if good { Ok(()) } else { Err("refused") },
            };
            self.pool.record_probe(&probed, now);
        }
    }

    /// Offers a client to one broker after the other, as a session's handshake does. A broker that
    /// is not alive refuses the connection at once.
    pub(crate) fn connect(&self, key: &[u8], alive: &[bool], now: Instant) -> Option<Lease> {
        let mut tried = Vec::new();
        let mut tries_left = self.pool.config().tries.get();
        while tries_left > 0 {
            let load = |index| self.load(index).filter(|_| !tried.contains(&index));
            let index = self.pick(key, now).best(&load)?;
            self.assert_fair(index);
            tried.push(index);
            let broker = &self.members.list[index].broker;
            let Ok(lease) = broker.clone().lease() else { continue };
            tries_left -= 1;
            lease.settle();
            if alive[usize::from(self.ids[index])] {
                self.pool.record_success(broker, now);
                return Some(lease);
            }
            self.pool.record_failure(broker, now, now);
        }
        None
    }

    /// Where a client that came now would go first.
    pub(crate) fn preferred_broker(&self, key: &[u8], now: Instant) -> Option<BrokerId> {
        let index = self.pick(key, now).best(&|index| self.load(index))?;
        Some(self.ids[index])
    }

    pub(crate) fn is_misplaced(&self, key: &[u8], lease: &Lease, now: Instant) -> bool {
        self.pick(key, now).preferred_broker(lease.broker()).is_some()
    }

    /// See [`World::views`](crate::world::World::views).
    pub(crate) fn view(&self, brokers: usize, now: Instant) -> Vec<f64> {
        let mut view = vec![0.0; brokers];
        for (member, &id) in self.members.list.iter().zip(&self.ids) {
            if member.broker.load().is_some() {
                view[usize::from(id)] = self.pool.warmth(&member.broker, now);
            }
        }
        view
    }

    pub(crate) fn count_sessions(&self, of: &mut [u32]) {
        for (member, &id) in self.members.list.iter().zip(&self.ids) {
            of[usize::from(id)] += member.broker.sessions();
        }
    }

    /// Whether brokers have died, and whether clients have come to have another home, since this
    /// was last asked.
    pub(crate) fn news(&mut self) -> (bool, bool) {
        let (deaths, moves) = (self.pool.down_count(), self.pool.move_count());
        let news = (deaths != self.deaths, moves != self.moves);
        (self.deaths, self.moves) = (deaths, moves);
        news
    }

    fn pick<'a>(&'a self, key: &'a [u8], now: Instant) -> Pick<'a> {
        let (pool, members, router) = (&self.pool, &*self.members, &self.router);
        Pick { pool, members, router, key: Some(key), now }
    }

    fn load(&self, index: usize) -> Option<u32> {
        self.members.list[index].broker.load()
    }

    fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        let index = self.ids.iter().position(|&other| other == id)?;
        Some(&self.members.list[index].broker)
    }

    /// `bounded_load`, worked out without the code that enforces it; all weights are 1.
    fn assert_fair(&self, picked: usize) {
        let Some(factor) = self.pool.config().balance.bounded_load else { return };
        let loads = || (0..self.members.list.len()).filter_map(|index| self.load(index));
        let mean = f64::from(loads().sum::<u32>() + 1) / loads().count() as f64;
        let with_it = f64::from(self.load(picked).unwrap() + 1);
        assert!(with_it <= (factor * mean).ceil(), "{with_it} sessions on a broker, mean {mean}");
    }
}

/// The number at the end of its name.
pub(crate) fn id_of(name: &str) -> BrokerId {
    name.rsplit('-').next().unwrap().parse().unwrap()
}

fn ids(members: &Members) -> Vec<BrokerId> {
    members.list.iter().map(|member| id_of(&member.broker.name)).collect()
}
