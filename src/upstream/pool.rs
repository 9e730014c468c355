//! A pool's brokers and the state that all workers share of them.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    config::{self, Address},
    observe::{Metrics, PoolMetrics, UpstreamMetrics},
    route::{self, Router},
};

/// One pool of the configuration, running.
#[derive(Debug)]
pub struct Pool {
    pub config: config::Pool,
    /// In the order of the configuration.
    pub brokers: Vec<Arc<Broker>>,
    pub metrics: PoolMetrics,
}

impl Pool {
    pub fn new(config: &config::Pool, metrics: &Metrics) -> Self {
        let brokers = config
            .upstreams
            .iter()
            .map(|upstream| Arc::new(Broker::new(&config.name, upstream, metrics)))
            .collect();
        Self { config: config.clone(), brokers, metrics: metrics.pool(&config.name) }
    }

    /// This pool's balancers, one set for each worker.
    pub fn router(&self) -> Router {
        router(&self.config)
    }

    /// Whether a new session could go anywhere at all.
    pub fn can_serve(&self) -> bool {
        self.brokers.iter().any(|broker| broker.load().is_some())
    }
}

/// The balancers of a pool as it is configured.
pub fn router(pool: &config::Pool) -> Router {
    let brokers: Vec<_> = pool
        .upstreams
        .iter()
        .map(|upstream| route::Broker {
            name: upstream.name.clone(),
            weight: upstream.weight,
            backup: upstream.backup,
        })
        .collect();
    Router::new(pool.balance.algorithm, &brokers)
}

/// One broker.
#[derive(Debug)]
pub struct Broker {
    pub name: Arc<str>,
    pub address: Address,
    max_connections: Option<NonZeroU32>,
    /// Sessions there and on their way there.
    sessions: AtomicU32,
    /// What `address` last resolved to, where it is a host name. Held for a copy at a time.
    resolved: Mutex<Option<SocketAddr>>,
    pub metrics: UpstreamMetrics,
}

impl Broker {
    fn new(pool: &str, config: &config::Upstream, metrics: &Metrics) -> Self {
        let resolved = match config.address {
            Address::Ip(address) => Some(address),
            Address::Host(..) | Address::Unix(_) => None,
        };
        let metrics = metrics.upstream(pool, &config.name);
        metrics.up.set(1);
        Self {
            name: config.name.clone(),
            address: config.address.clone(),
            max_connections: config.max_connections,
            sessions: AtomicU32::new(0),
            resolved: Mutex::new(resolved),
            metrics,
        }
    }

    /// The sessions it carries, or `None` when it takes no more.
    pub fn load(&self) -> Option<u32> {
        let sessions = self.sessions.load(Ordering::Relaxed);
        match self.max_connections {
            Some(most) if sessions >= most.get() => None,
            _ => Some(sessions),
        }
    }

    /// Takes a place for one session; `None` when the last one has just gone.
    pub fn lease(self: &Arc<Self>) -> Option<Lease> {
        let before = self.sessions.fetch_add(1, Ordering::Relaxed);
        self.metrics.sessions_active.inc();
        let lease = Lease(self.clone());
        match self.max_connections {
            Some(most) if before >= most.get() => None,
            _ => Some(lease),
        }
    }

    /// Where to dial; `None` while its host name is unknown.
    pub fn target(&self) -> Option<Target<'_>> {
        match &self.address {
            Address::Unix(path) => Some(Target::Unix(path)),
            Address::Ip(address) => Some(Target::Ip(*address)),
            Address::Host(..) => {
                let resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
                resolved.map(Target::Ip)
            }
        }
    }

    /// Notes what its host name resolves to now; true if that is news.
    pub fn set_resolved(&self, address: SocketAddr) -> bool {
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.replace(address) != Some(address)
    }
}

/// What is dialled.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Ip(SocketAddr),
    Unix(&'a Path),
}

/// One session's place on a broker, given back when it ends.
#[derive(Debug)]
pub struct Lease(Arc<Broker>);

impl Lease {
    pub fn broker(&self) -> &Arc<Broker> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.sessions_active.dec();
    }
}
