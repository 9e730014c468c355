//! The pools that run, and the hosts of those that are about to.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    config::{self, Address, Dns},
    metrics::Metrics,
    net::check_source,
    upstream::{Addresses, Endpoint, LOOKUP_TIMEOUT, Pool, Resolver, WorkerSignal},
};

/// What pools are started with.
pub(super) struct Pools {
    resolver: watch::Sender<Arc<Resolver>>,
    metrics: Metrics,
    signal: Arc<WorkerSignal>,
}

impl Pools {
    pub(super) fn new(dns: &Dns, metrics: &Metrics, signal: &Arc<WorkerSignal>) -> Self {
        Self {
            resolver: watch::Sender::new(Arc::new(Resolver::new(dns))),
            metrics: metrics.clone(),
            signal: signal.clone(),
        }
    }

    /// Has all pools ask other DNS servers from now on.
    pub(super) fn set_dns(&self, dns: &Dns) {
        self.resolver.send_replace(Arc::new(Resolver::new(dns)));
    }

    /// Starts pools. Waits for the first answers of DNS, but not for long: a DNS server that is
    /// away must not keep clients from the brokers that are known.
    pub(super) async fn start(
        &self,
        configs: impl Iterator<Item = &config::Pool>,
    ) -> Vec<Arc<Pool>> {
        // Each task has a sender until its first look-up is over.
        let (pending, mut all_looked_up) = mpsc::channel(1);
        let start = |config: &config::Pool| {
            check_sources(config);
            let pool = Arc::new(Pool::new(config, &self.metrics, self.signal.clone()));
            pool.start(&self.resolver.subscribe(), &pending);
            pool
        };
        let pools = configs.map(start).collect();
        drop(pending);
        let _ = timeout(LOOKUP_TIMEOUT, all_looked_up.recv()).await;
        pools
    }

    /// Begins to look up the hosts of `config` that `pool` does not know yet, so that they can be
    /// reached when they become its brokers.
    pub(super) fn look_up(&self, pool: &Pool, config: &config::Pool, look_ups: &mut LookUps) {
        let members = pool.members();
        let endpoints = members.list.iter().map(|member| member.broker.endpoint());
        let known: HashSet<_> = endpoints.filter_map(|at| host_of(&at.address).cloned()).collect();
        let hosts = config.upstreams.iter().filter_map(|upstream| host_of(&upstream.address));
        for host in hosts.filter(|host| !known.contains(*host)).collect::<HashSet<_>>() {
            let (resolver, host) = (self.resolver.borrow().clone(), host.clone());
            look_ups.0.spawn(async move {
                let addresses = resolver.addresses(&host).await.ok()?;
                Some((host, addresses))
            });
        }
    }
}

fn host_of(address: &Address) -> Option<&Arc<str>> {
    match address {
        Address::Host(host, _) => Some(host),
        Address::Ip(_) | Address::Unix(_) => None,
    }
}

/// Look-ups that are under way.
#[derive(Default)]
pub(super) struct LookUps(JoinSet<Option<(Arc<str>, Addresses)>>);

/// Hosts that were found.
pub(super) struct Hosts(HashMap<Arc<str>, Addresses>);

impl LookUps {
    /// Waits for all of them, and for none longer than the resolver does.
    pub(super) async fn hosts(mut self) -> Hosts {
        let mut hosts = HashMap::new();
        while let Some(looked_up) = self.0.join_next().await {
            hosts.extend(looked_up.ok().flatten());
        }
        Hosts(hosts)
    }
}

impl Hosts {
    /// Tells an endpoint its addresses, where it does not know them.
    pub(super) fn tell(&self, endpoint: &Endpoint) {
        if let Address::Host(host, port) = &endpoint.address
            && endpoint.target().is_none()
            && let Some(addresses) = self.0.get(host)
        {
            let addresses = addresses.list.iter().map(|ip| SocketAddr::new(*ip, *port));
            endpoint.set_resolved(&addresses.collect::<Vec<_>>());
        }
    }
}

/// Warns of addresses to dial from that this host does not have. It may be given them later.
fn check_sources(pool: &config::Pool) {
    for source in &pool.source_addresses {
        if let Err(error) = check_source(*source) {
            tracing::warn!(
                pool = %pool.name, %source, %error,
                "source_addresses has one that cannot be dialled from; the others are used"
            );
        }
    }
}
