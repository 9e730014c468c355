//! Starts pools, and looks up the hosts of brokers that a reload adds.

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
    upstream::{
        Endpoint, LOOKUP_TIMEOUT, Pool, ResolvedAddresses, Resolver, WorkerSignal, start_pool_tasks,
    },
};

/// The resources that new pools share.
pub(super) struct PoolStarter {
    resolver: watch::Sender<Arc<Resolver>>,
    metrics: Metrics,
    signal: Arc<WorkerSignal>,
}

impl PoolStarter {
    pub(super) fn new(dns: &Dns, metrics: &Metrics, signal: &Arc<WorkerSignal>) -> Self {
        Self {
            resolver: watch::Sender::new(Arc::new(Resolver::new(dns))),
            metrics: metrics.clone(),
            signal: signal.clone(),
        }
    }

    /// Makes all pools use other DNS servers from now on.
    pub(super) fn set_dns(&self, dns: &Dns) {
        self.resolver.send_replace(Arc::new(Resolver::new(dns)));
    }

    /// Starts pools, and waits for the first answers of DNS for a limited time: an unreachable DNS
    /// server must not keep clients from the brokers that are known.
    pub(super) async fn start(
        &self,
        configs: impl Iterator<Item = &config::Pool>,
    ) -> Vec<Arc<Pool>> {
        // Each task holds a sender until its first look-up is done.
        let (pending, mut all_looked_up) = mpsc::channel(1);
        let start = |config: &config::Pool| {
            check_sources(config);
            let pool = Arc::new(Pool::new(config, &self.metrics, self.signal.clone()));
            start_pool_tasks(&pool, &self.resolver.subscribe(), &pending);
            pool
        };
        let pools = configs.map(start).collect();
        drop(pending);
        let _ = timeout(LOOKUP_TIMEOUT, all_looked_up.recv()).await;
        pools
    }

    /// Starts to look up the hosts in `config` that `pool` does not have yet, so that their
    /// addresses are known when they become its brokers.
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

/// Look-ups in progress.
#[derive(Default)]
pub(super) struct LookUps(JoinSet<Option<(Arc<str>, ResolvedAddresses)>>);

/// Hosts and their addresses.
pub(super) struct ResolvedHosts(HashMap<Arc<str>, ResolvedAddresses>);

impl LookUps {
    /// Waits for all look-ups; each ends at the resolver's timeout at the latest.
    pub(super) async fn hosts(mut self) -> ResolvedHosts {
        let mut hosts = HashMap::new();
        while let Some(looked_up) = self.0.join_next().await {
            hosts.extend(looked_up.ok().flatten());
        }
        ResolvedHosts(hosts)
    }
}

impl ResolvedHosts {
    /// Sets the addresses of an endpoint that does not have any yet.
    pub(super) fn apply_to(&self, endpoint: &Endpoint) {
        if let Address::Host(host, port) = &endpoint.address
            && endpoint.target().is_none()
            && let Some(addresses) = self.0.get(host)
        {
            let addresses = addresses.list.iter().map(|ip| SocketAddr::new(*ip, *port));
            endpoint.set_resolved(&addresses.collect::<Vec<_>>());
        }
    }
}

/// Warns about source addresses that this host does not have. They may be added to it later.
fn check_sources(pool: &config::Pool) {
    for source in &pool.source_addresses {
        if let Err(error) = check_source(*source) {
            tracing::warn!(
                pool = %pool.name, %source, %error,
                "source_addresses: cannot connect from this address; the others are used"
            );
        }
    }
}
