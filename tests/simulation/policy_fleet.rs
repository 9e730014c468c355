//! Proxies with rules, bans and quotas over two pools, and their clients, in virtual time. The
//! decisions are the product's own; what is simulated is who connects when.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use fastrand::Rng;
use mqtt_lb::testing::{
    config::Config,
    rules::{ClientPolicy, QuotaPlace},
    template::ClientFields,
    upstream::Lease,
};

use crate::proxy::{BrokerId, Proxy, id_of};

/// Each event has so many seconds to show its effects.
const SPAN: u32 = 600;
/// What operators say has come to every proxy within so many seconds.
const ROLLOUT: u32 = 10;
/// A client that lost its session is back within so many seconds, and one that was refused tries
/// again.
const RECONNECT: u32 = 10;
const RETRY: u32 = 60;
/// Each client reconnects of itself once in so many seconds, on average.
const SESSION_SECONDS: usize = 3600;
/// Every so many clients are asked about where proxies are compared with each other.
const SAMPLE: usize = 1000;

/// Brokers 0 to 9 are in the pool `old`, the others in `new`.
const BROKERS: [BrokerId; 2] = [10, 20];

/// A client, by what rules and quotas know of it.
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) tenant: String,
}

pub(crate) struct PolicyFleet<'a> {
    started: Instant,
    second: u32,
    rng: Rng,
    devices: &'a [Device],
    sessions: Vec<Option<Session>>,
    proxies: Vec<PolicyProxy>,
    connects: BTreeMap<u32, Vec<usize>>,
    /// By the second in which they reach a proxy.
    orders: BTreeMap<u32, Vec<(usize, Order)>>,
    /// Whether sessions have to be checked for bans.
    has_new_bans: bool,
    ended: usize,
    refused: usize,
}

struct PolicyProxy {
    policy: ClientPolicy,
    pools: [Proxy; 2],
    /// Clients whose rule may have changed, the next one last.
    rebalancing: Vec<usize>,
    next_move: Instant,
}

struct Session {
    proxy: usize,
    pool: usize,
    lease: Lease,
    _place: QuotaPlace,
}

/// What an operator tells a proxy.
#[derive(Clone)]
pub(crate) enum Order {
    Share(&'static str),
    /// The listener's rules and the limits, as in the configuration.
    Reload(&'static str, &'static str),
}

/// What an event came to.
#[derive(Debug, PartialEq)]
pub(crate) struct PolicyRow {
    pub(crate) event: &'static str,
    /// Clients whose broker is another one after it.
    pub(crate) moved: usize,
    /// Of those, clients that the event is not about.
    pub(crate) needless: usize,
    /// Sessions that proxies ended.
    pub(crate) ended: usize,
    pub(crate) refused: usize,
    /// Seconds in which not all proxies agreed, and the largest part of the clients in dispute.
    pub(crate) disagreed: u32,
    pub(crate) disputed: f64,
}

pub(crate) fn config(rules: &str, limits: &str) -> Config {
    let pool = |name: &str, first: BrokerId, end: BrokerId| {
        let upstream =
            |id| format!("      - {{ name: broker-{id}, address: \"10.0.0.{id}:1883\" }}\n");
        let upstreams: String = (first..end).map(upstream).collect();
        format!(
            "  - name: {name}\n    discover: {{ dns: {name}.test }}\n    \
             rebalance: {{ rate: 50 }}\n    upstreams:\n{upstreams}"
        )
    };
    let [middle, end] = BROKERS;
    let pools = pool("old", 0, middle) + &pool("new", middle, end);
    let text = format!(
        "listeners: [ {{ name: mqtt, bind: \"127.0.0.1:1883\", pool: old, rules: [{rules}] }} ]\n\
         pools:\n{pools}limits: {{ {limits} }}\n"
    );
    let config = Config::parse(&text, Path::new("simulation.yaml"), &|_| None);
    config.unwrap_or_else(|faults| panic!("{faults}"))
}

impl<'a> PolicyFleet<'a> {
    pub(crate) fn new(proxies: usize, devices: &'a [Device], rules: &str, seed: u64) -> Self {
        let started = Instant::now();
        let proxy = |_| {
            let config = config(rules, "");
            let pools = [0, 1].map(|index| Proxy::new(&config.pools[index], started));
            let all = pools.iter().map(|proxy| proxy.pool.clone()).collect();
            let policy = ClientPolicy::new(config, all);
            PolicyProxy { policy, pools, rebalancing: Vec::new(), next_move: started }
        };
        Self {
            started,
            second: 0,
            rng: Rng::with_seed(seed),
            devices,
            sessions: devices.iter().map(|_| None).collect(),
            proxies: (0..proxies).map(proxy).collect(),
            connects: BTreeMap::new(),
            orders: BTreeMap::new(),
            has_new_bans: false,
            ended: 0,
            refused: 0,
        }
    }

    /// Lets an event show its effects. `concerns` says which clients it is about.
    pub(crate) fn event(
        &mut self,
        event: &'static str,
        concerns: impl Fn(&Device) -> bool,
        act: impl FnOnce(&mut Self),
    ) -> PolicyRow {
        let before = self.homes(0, 1);
        (self.ended, self.refused) = (0, 0);
        act(self);
        let (mut disagreed, mut disputed) = (0, 0.0_f64);
        for _ in 0..SPAN {
            let changes = !self.orders.is_empty();
            self.advance();
            if changes {
                let dispute = self.dispute();
                disagreed += u32::from(dispute > 0.0);
                disputed = disputed.max(dispute);
            }
        }
        assert!(self.dispute() == 0.0, "{event}: the proxies do not agree");
        let after = self.homes(0, 1);
        let changes = before.iter().zip(&after).zip(self.devices);
        let moved: Vec<_> =
            changes.filter(|((from, to), _)| from != to).map(|(_, device)| device).collect();
        let needless = moved.iter().filter(|device| !concerns(device)).count();
        let (moved, ended, refused) = (moved.len(), self.ended, self.refused);
        PolicyRow { event, moved, needless, ended, refused, disagreed, disputed }
    }

    /// Reaches one proxy after the other.
    pub(crate) fn order(&mut self, order: &Order) {
        for proxy in 0..self.proxies.len() {
            let at = self.second + self.rng.u32(1..=ROLLOUT);
            self.orders.entry(at).or_default().push((proxy, order.clone()));
        }
    }

    /// Bans clients at every proxy at once.
    pub(crate) fn ban(&mut self, is_banned: impl Fn(&Device) -> bool, time: Duration) {
        let now = self.now();
        self.has_new_bans = true;
        for device in self.devices.iter().filter(|device| is_banned(device)) {
            for proxy in &self.proxies {
                proxy.policy.ban(&device.id, now, time);
            }
        }
    }

    pub(crate) fn connect_all(&mut self) {
        for id in 0..self.devices.len() {
            if self.sessions[id].is_none() {
                self.plan(RECONNECT, id);
            }
        }
    }

    pub(crate) fn disconnect_all(&mut self) {
        self.sessions.iter_mut().for_each(|session| drop(session.take()));
    }

    pub(crate) fn advance(&mut self) {
        self.second += 1;
        for (proxy, order) in self.orders.remove(&self.second).unwrap_or_default() {
            self.execute(proxy, &order);
        }
        for id in self.connects.remove(&self.second).unwrap_or_default() {
            self.connect(id);
        }
        for _ in 0..self.devices.len() / SESSION_SECONDS {
            let id = self.rng.usize(..self.devices.len());
            if self.sessions[id].take().is_some() {
                self.connect(id);
            }
        }
        if std::mem::take(&mut self.has_new_bans) {
            self.end_banned();
        }
        self.rebalance();
    }

    /// The broker of each client that has a session.
    pub(crate) fn places(&self) -> Vec<Option<BrokerId>> {
        let place = |session: &Session| id_of(&session.lease.broker().name);
        self.sessions.iter().map(|session| session.as_ref().map(place)).collect()
    }

    /// The broker that every so many of the clients would be given by a proxy.
    pub(crate) fn homes(&self, proxy: usize, every: usize) -> Vec<BrokerId> {
        let (proxy, now) = (&self.proxies[proxy], self.now());
        let home = |device: &Device| {
            let pool = &proxy.pools[proxy.policy.pool_of(fields(device))];
            pool.preferred_broker(device.id.as_bytes(), now).unwrap()
        };
        self.devices.iter().step_by(every).map(home).collect()
    }

    /// The part of the clients whose home depends on their proxy.
    fn dispute(&self) -> f64 {
        // Odd, as clients of one tenant have even distances.
        let every = (self.devices.len() / SAMPLE) | 1;
        let homes: Vec<_> = (0..self.proxies.len()).map(|proxy| self.homes(proxy, every)).collect();
        let asked = homes[0].len();
        let differ = |&at: &usize| homes.iter().any(|proxy| proxy[at] != homes[0][at]);
        (0..asked).filter(differ).count() as f64 / asked as f64
    }

    fn now(&self) -> Instant {
        self.started + Duration::from_secs(self.second.into())
    }

    fn plan(&mut self, within: u32, id: usize) {
        let at = self.second + self.rng.u32(1..=within);
        self.connects.entry(at).or_default().push(id);
    }

    fn execute(&mut self, index: usize, order: &Order) {
        let now = self.now();
        let proxy = &mut self.proxies[index];
        match order {
            Order::Share(percent) => proxy.policy.set_percent("canary", percent),
            Order::Reload(rules, limits) => proxy.policy.reload(config(rules, limits)),
        }
        let is_its = |session: &Option<Session>| session.as_ref().is_some_and(|s| s.proxy == index);
        let of_it = self.sessions.iter().enumerate().filter(|(_, session)| is_its(session));
        proxy.rebalancing = of_it.map(|(id, _)| id).rev().collect();
        proxy.next_move = now;
    }

    /// Through any proxy: there is a plain TCP balancer, or DNS, in front of them.
    fn connect(&mut self, id: usize) {
        let (device, now) = (&self.devices[id], self.now());
        if self.sessions[id].is_some() {
            return;
        }
        let index = self.rng.usize(..self.proxies.len());
        let proxy = &self.proxies[index];
        let pool = proxy.policy.pool_of(fields(device));
        let is_banned = proxy.policy.is_banned(&device.id, now);
        let place = if is_banned { None } else { proxy.policy.enter_quotas(&fields(device)) };
        let Some(place) = place else {
            self.refused += 1;
            return self.plan(RETRY, id);
        };
        let alive = [true; BROKERS[1] as usize];
        let lease = proxy.pools[pool].connect(device.id.as_bytes(), &alive, now).unwrap();
        self.sessions[id] = Some(Session { proxy: index, pool, lease, _place: place });
    }

    fn end(&mut self, id: usize) {
        self.sessions[id] = None;
        self.ended += 1;
        self.plan(RECONNECT, id);
    }

    fn end_banned(&mut self) {
        let now = self.now();
        let is_banned = |id: &usize| {
            let session = self.sessions[*id].as_ref();
            session.is_some_and(|session| {
                self.proxies[session.proxy].policy.is_banned(&self.devices[*id].id, now)
            })
        };
        let banned: Vec<_> = (0..self.devices.len()).filter(is_banned).collect();
        for id in banned {
            self.end(id);
        }
    }

    /// Each proxy ends sessions whose clients now belong to another pool, at the pool's rate.
    fn rebalance(&mut self) {
        let now = self.now();
        for index in 0..self.proxies.len() {
            while self.proxies[index].next_move <= now
                && let Some(id) = self.proxies[index].rebalancing.pop()
            {
                let proxy = &mut self.proxies[index];
                let session = self.sessions[id].as_ref().filter(|session| session.proxy == index);
                let Some(session) = session else { continue };
                if proxy.policy.pool_of(fields(&self.devices[id])) != session.pool {
                    proxy.next_move = proxy.pools[session.pool].pool.next_move(proxy.next_move);
                    self.end(id);
                }
            }
        }
    }
}

fn fields(device: &Device) -> ClientFields<'_> {
    let username = Some(&*device.tenant);
    ClientFields { client_id: &device.id, username, ..ClientFields::default() }
}
