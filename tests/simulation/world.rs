//! Proxies, brokers and clients in virtual time. Whatever is left to chance comes from one seed.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use fastrand::Rng;
use mqtt_lb::testing::{
    config::{self, Config},
    upstream::{BrokerState, Lease},
};

use crate::proxy::{BrokerId, Proxy, id_of};

/// Time goes in steps of 100 ms.
pub(crate) const STEPS_PER_SECOND: u32 = 10;
const STEP: Duration = Duration::from_millis(100);

/// A client that lost its session is back within a second.
const RECONNECT: u32 = STEPS_PER_SECOND;
/// Each client reconnects of itself once in so many seconds, on average.
const SESSION_SECONDS: usize = 3600;
/// What operators and DNS say has come to every proxy within this time.
const ROLLOUT: u32 = 10 * STEPS_PER_SECOND;
const PROBE_INTERVAL: u32 = 5 * STEPS_PER_SECOND;

pub(crate) struct World<'a> {
    started: Instant,
    pub(crate) step: u32,
    rng: Rng,
    /// A client's number is the place of its key.
    keys: &'a [String],
    clients: Vec<Client>,
    pub(crate) proxies: Vec<Proxy>,
    alive: Vec<bool>,
    calendar: BTreeMap<u32, Vec<Due>>,
    /// Whether `rebalance` is heeded.
    pub(crate) rebalances: bool,
    /// Sessions that brokers or proxies ended.
    pub(crate) ended: u32,
    /// CONNECTs that no broker was found for.
    pub(crate) refused: u32,
}

#[derive(Default)]
struct Client {
    lease: Option<Lease>,
    proxy: usize,
    /// The step in which it connected.
    since: u32,
}

enum Due {
    Connect(u32),
    Probe { proxy: usize, broker: BrokerId },
    SetState { proxy: usize, broker: BrokerId, state: BrokerState },
    SetMembers { proxy: usize, upstreams: Vec<config::Upstream> },
}

/// A pool's configuration, with `brokers` of weight 1.
pub(crate) fn pool(brokers: impl IntoIterator<Item = BrokerId>, keys: &str) -> config::Pool {
    let upstreams = brokers
        .into_iter()
        .map(|id| format!("      - {{ name: broker-{id}, address: \"10.0.0.{id}:1883\" }}\n"));
    let text = format!(
        "listeners: [ {{ name: mqtt, bind: \"127.0.0.1:1883\", pool: brokers }} ]\n\
         pools:\n  - name: brokers\n    discover: {{ dns: brokers.test }}\n    {keys}\n    upstreams:\n{}",
        upstreams.collect::<String>()
    );
    let config = Config::parse(&text, Path::new("simulation.yaml"), &|_| None);
    config.unwrap_or_else(|faults| panic!("{faults}")).pools.remove(0)
}

impl<'a> World<'a> {
    /// `brokers`: how many there will be at most.
    pub(crate) fn new(
        config: &config::Pool,
        proxies: usize,
        brokers: usize,
        keys: &'a [String],
        seed: u64,
    ) -> Self {
        let started = Instant::now();
        let mut world = Self {
            started,
            step: 0,
            rng: Rng::with_seed(seed),
            keys,
            clients: keys.iter().map(|_| Client::default()).collect(),
            proxies: (0..proxies).map(|_| Proxy::new(config, started)).collect(),
            alive: vec![true; brokers],
            calendar: BTreeMap::new(),
            rebalances: true,
            ended: 0,
            refused: 0,
        };
        for proxy in 0..proxies {
            for broker in 0..brokers as BrokerId {
                world.plan(PROBE_INTERVAL, Due::Probe { proxy, broker });
            }
        }
        world
    }

    pub(crate) fn now(&self) -> Instant {
        self.started + STEP * self.step
    }

    /// All clients that are not connected do so, within so many seconds.
    pub(crate) fn connect_all(&mut self, seconds: u32) {
        for client in 0..self.clients.len() as u32 {
            if self.clients[client as usize].lease.is_none() {
                self.plan(seconds * STEPS_PER_SECOND, Due::Connect(client));
            }
        }
    }

    /// Ends all sessions at once.
    pub(crate) fn disconnect_all(&mut self) {
        self.ended +=
            self.clients.iter_mut().filter_map(|client| client.lease.take()).count() as u32;
    }

    /// The broker's process ends, and all its connections with it.
    pub(crate) fn kill(&mut self, broker: BrokerId) {
        self.alive[usize::from(broker)] = false;
        self.end_sessions(|client| {
            client.lease.as_ref().is_some_and(|lease| id_of(&lease.broker().name) == broker)
        });
    }

    pub(crate) fn revive(&mut self, broker: BrokerId) {
        self.alive[usize::from(broker)] = true;
    }

    /// Reaches one proxy after the other.
    pub(crate) fn set_state(&mut self, broker: BrokerId, state: BrokerState) {
        for proxy in 0..self.proxies.len() {
            self.plan(ROLLOUT, Due::SetState { proxy, broker, state });
        }
    }

    /// Reaches one proxy after the other.
    pub(crate) fn set_members(&mut self, upstreams: &[config::Upstream]) {
        for proxy in 0..self.proxies.len() {
            self.plan(ROLLOUT, Due::SetMembers { proxy, upstreams: upstreams.to_vec() });
        }
    }

    /// One step of time.
    pub(crate) fn advance(&mut self) {
        self.step += 1;
        let now = self.now();
        for due in self.calendar.remove(&self.step).unwrap_or_default() {
            match due {
                Due::Connect(client) => self.connect(client),
                Due::Probe { proxy, broker } => {
                    self.proxies[proxy].probe(broker, self.alive[usize::from(broker)], now);
                    // A tenth of jitter either way.
                    let jitter = self.rng.u32(..=PROBE_INTERVAL / 5);
                    let next = self.step + PROBE_INTERVAL * 9 / 10 + jitter;
                    self.calendar.entry(next).or_default().push(Due::Probe { proxy, broker });
                }
                Due::SetState { proxy, broker, state } => {
                    self.proxies[proxy].set_state(broker, state, now);
                }
                Due::SetMembers { proxy, upstreams } => {
                    self.proxies[proxy].set_members(&upstreams, now);
                }
            }
        }
        if self.step.is_multiple_of(STEPS_PER_SECOND) {
            self.proxies.iter().for_each(|proxy| proxy.pool.tick(now));
            self.act_on_news();
            self.reconnect_some();
        }
        self.rebalance();
    }

    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Where every so many of the clients would go, through one of the proxies.
    pub(crate) fn homes(&self, proxy: usize, every: usize) -> Vec<BrokerId> {
        let (proxy, now) = (&self.proxies[proxy], self.now());
        let keys = self.keys.iter().step_by(every);
        keys.map(|key| proxy.preferred_broker(key.as_bytes(), now).unwrap()).collect()
    }

    /// What part of its keys each broker is given, proxy by proxy: all that homes depend on.
    pub(crate) fn views(&self) -> Vec<Vec<f64>> {
        let view = |proxy: &Proxy| proxy.view(self.alive.len(), self.now());
        self.proxies.iter().map(view).collect()
    }

    /// The sessions on each broker.
    pub(crate) fn sessions(&self) -> Vec<u32> {
        let mut sessions = vec![0; self.alive.len()];
        self.proxies.iter().for_each(|proxy| proxy.count_sessions(&mut sessions));
        sessions
    }

    /// Where the clients are, all of which must be connected.
    pub(crate) fn places(&self) -> Vec<BrokerId> {
        let place = |client: &Client| id_of(&client.lease.as_ref().unwrap().broker().name);
        self.clients.iter().map(place).collect()
    }

    /// By chance, from the next step to `within` so many.
    fn plan(&mut self, within: u32, due: Due) {
        let at = self.step + self.rng.u32(1..=within);
        self.calendar.entry(at).or_default().push(due);
    }

    /// Through any proxy: there is a plain TCP balancer, or DNS, in front of them.
    fn connect(&mut self, id: u32) {
        let (now, index) = (self.now(), id as usize);
        if self.clients[index].lease.is_some() {
            return;
        }
        let proxy = self.rng.usize(..self.proxies.len());
        let lease = self.proxies[proxy].connect(self.keys[index].as_bytes(), &self.alive, now);
        if lease.is_none() {
            self.refused += 1;
            self.plan(RECONNECT, Due::Connect(id));
        }
        self.clients[index] = Client { lease, proxy, since: self.step };
    }

    fn end_sessions(&mut self, ends: impl Fn(&Client) -> bool) {
        for id in 0..self.clients.len() {
            if ends(&self.clients[id]) {
                self.end_session(id);
            }
        }
    }

    fn end_session(&mut self, id: usize) {
        self.clients[id].lease = None;
        self.ended += 1;
        self.plan(RECONNECT, Due::Connect(id as u32));
    }

    /// `on_down: close`, and who is to be looked at by `rebalance`.
    fn act_on_news(&mut self) {
        let now = self.now();
        let news: Vec<_> = self.proxies.iter_mut().map(Proxy::news).collect();
        if news.iter().any(|(died, _)| *died) {
            self.end_sessions(|client| {
                let lease = client.lease.as_ref();
                news[client.proxy].0 && lease.is_some_and(|lease| lease.broker().is_down())
            });
        }
        for (index, (_, moved)) in news.into_iter().enumerate() {
            let proxy = &mut self.proxies[index];
            if moved && self.rebalances {
                let clients = self.clients.iter().enumerate();
                proxy.rebalancing = clients
                    .filter(|(_, client)| client.proxy == index && client.lease.is_some())
                    .map(|(id, client)| (client.since, id as u32))
                    .collect();
                // The oldest are the last, from where they are taken.
                proxy.rebalancing.sort_unstable_by(|one, other| other.cmp(one));
                proxy.next_move = proxy.pool.next_move(now);
            }
        }
    }

    /// Each proxy sends those of its clients home whose time has come.
    fn rebalance(&mut self) {
        let now = self.now();
        for index in 0..self.proxies.len() {
            while self.proxies[index].next_move <= now
                && let Some((since, id)) = self.proxies[index].rebalancing.pop()
            {
                let (proxy, id) = (&mut self.proxies[index], id as usize);
                let client = &self.clients[id];
                let lease = client.lease.as_ref().filter(|_| {
                    // Else it has reconnected.
                    client.proxy == index && client.since == since
                });
                let key = self.keys[id].as_bytes();
                if lease.is_some_and(|lease| proxy.is_misplaced(key, lease, now)) {
                    proxy.next_move = proxy.pool.next_move(proxy.next_move);
                    self.end_session(id);
                }
            }
        }
    }

    /// Clients that reconnect for reasons of their own.
    fn reconnect_some(&mut self) {
        for _ in 0..self.clients.len() / SESSION_SECONDS {
            let id = self.rng.u32(..self.clients.len() as u32);
            if self.clients[id as usize].lease.take().is_some() {
                self.connect(id);
            }
        }
    }
}
