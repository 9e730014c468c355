//! Where one proxy lets its clients go, for the simulation of many: the rules of a listener, bans and
//! quotas, without a connection.

#![allow(clippy::missing_panics_doc, reason = "a panic ends the simulation with its reason")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    balance::Choice,
    config::Config,
    labels::BanReason,
    limits::{Ban, BanTarget, ConnectionLimiter, ConnectionPermit},
    listener::{BoundListener, Listener, ListenerPools},
    metrics::Metrics,
    rules::{Action, ClientFacts, key_hash},
    template::ClientFields,
    upstream::Pool,
};

/// The rules, bans and quotas of one proxy with one listener.
pub struct ClientPolicy {
    config: Config,
    /// In the order of the configuration.
    pools: Vec<Arc<Pool>>,
    listener: Listener,
    limiter: Arc<ConnectionLimiter>,
    metrics: Metrics,
}

/// A client's place in the quotas, until it is dropped.
pub struct QuotaPlace {
    _permit: ConnectionPermit,
}

impl ClientPolicy {
    pub fn new(config: Config, pools: Vec<Arc<Pool>>) -> Self {
        let metrics = Metrics::new();
        let listener = &config.listeners[0];
        let bound = BoundListener::without_sockets(listener.bind.clone());
        let default = pools[listener.pool].clone();
        let reachable = ListenerPools { default, all: &pools };
        let listener = Listener::new(listener, bound, &reachable, &metrics);
        let limiter = Arc::new(ConnectionLimiter::new(&config.limits, u32::MAX, &metrics));
        limiter.quotas.reconfigure(&config.quotas, &metrics);
        Self { config, pools, listener, limiter, metrics }
    }

    /// Applies another configuration of the same pools, as a reload does.
    pub fn reload(&mut self, config: Config) {
        let listener = &config.listeners[0];
        let default = self.pools[listener.pool].clone();
        let pools = ListenerPools { default, all: &self.pools };
        self.listener.configure(listener, &pools, &self.metrics);
        self.limiter.reconfigure(&config.limits, u32::MAX);
        self.limiter.quotas.reconfigure(&config.quotas, &self.metrics);
        self.config = config;
    }

    /// Sets the share of clients of a rule, as the operator does.
    pub fn set_percent(&self, rule: &str, percent: &str) {
        let percent = percent.parse().expect("a percent");
        assert!(self.listener.set_percent(rule, Some(percent)), "no rule {rule}");
    }

    /// Bans a client ID, as the operator does.
    pub fn ban(&self, client_id: &str, now: Instant, time: Duration) {
        let target = BanTarget::ClientId(client_id.into());
        let ban = Ban::new(target, BanReason::Operator, now, time);
        self.limiter.rates.bans.add(ban).expect("room for the ban");
    }

    pub fn is_banned(&self, client_id: &str, now: Instant) -> bool {
        self.limiter.rates.bans.find_client_id(client_id, now).is_some()
    }

    /// The index of the pool that the rules send a client to.
    pub fn pool_of(&self, client: ClientFields<'_>) -> usize {
        let default = self.config.listeners[0].pool;
        let settings = self.listener.settings();
        let Some(rules) = &settings.rules else { return default };
        let hash = || {
            let balance = &self.config.pools[default].balance;
            let mut scratch = Vec::new();
            match balance.key.choose(balance.empty_client_id, &client, &mut scratch) {
                Choice::Key(key) | Choice::FallbackKey(key) => Some(key_hash(key)),
                Choice::LeastConnections | Choice::Assign | Choice::Reject => None,
            }
        };
        let facts = ClientFacts { fields: client, ..ClientFacts::default() };
        let rule = rules.decide(&facts, hash).and_then(|index| rules.get(index));
        match rule.map(|running| &running.rule.action) {
            None => default,
            Some(Action::Pool(index)) => *index,
            Some(other) => panic!("{other:?} is not simulated"),
        }
    }

    /// Counts a client in the quotas; `None` if one is full.
    pub fn enter_quotas(&self, client: &ClientFields<'_>) -> Option<QuotaPlace> {
        let permit = ConnectionPermit::enter(&self.limiter).expect("room for the connection");
        let full = permit.enter_quotas(client);
        full.is_empty().then_some(QuotaPlace { _permit: permit })
    }
}
