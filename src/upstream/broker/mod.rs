//! One broker: where it is, what it carries, and whether it is given more.

mod addresses;
mod endpoint;
mod flags;
mod lease;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub use addresses::{HostAddress, HostAddresses};
pub use endpoint::{Endpoint, Target};
pub(super) use flags::{BrokerFlags, Serving};
pub use lease::{Lease, Trial};

use crate::limits::AdmissionQueue;
use crate::{
    config,
    metrics::{Metrics, UpstreamMetrics},
};

/// One broker of a pool, for as long as anybody knows its name: a reload changes what is in it, so
/// that a client that waits, or a session that goes on, can hold no other one.
#[derive(Debug)]
pub struct Broker {
    pub name: Arc<str>,
    /// The hash of its name.
    id: u64,
    /// Makes a key's place in the slow start independent of its place in the pool.
    slow_start_seed: u64,
    endpoint: ArcSwap<Endpoint>,
    /// The endpoint's, where a worker can look at it without taking that: no address to dial yet.
    unresolved: AtomicBool,
    /// Sessions at a time; 0: no limit.
    max_connections: AtomicU32,
    pub(super) flags: BrokerFlags,
    pub admission: AdmissionQueue,
    pub metrics: UpstreamMetrics,
}

impl Broker {
    /// `queued` is told when a client has to wait for admission.
    pub(super) fn new(
        pool: &config::Pool,
        upstream: &config::Upstream,
        metrics: &Metrics,
        queued: &Arc<Notify>,
    ) -> Self {
        let metrics = metrics.upstream(&pool.name, &upstream.name);
        let endpoint = Endpoint::new(pool, upstream, &metrics, None);
        Self {
            name: upstream.name.clone(),
            id: xxh3_64(upstream.name.as_bytes()),
            slow_start_seed: xxh3_64_with_seed(upstream.name.as_bytes(), 2),
            unresolved: AtomicBool::new(endpoint.target().is_none()),
            endpoint: ArcSwap::from_pointee(endpoint),
            max_connections: AtomicU32::new(upstream.max_connections.map_or(0, NonZeroU32::get)),
            flags: BrokerFlags::default(),
            admission: AdmissionQueue::new(queued.clone()),
            metrics,
        }
    }

    /// Takes over what the configuration or DNS says of it now. `prepare` sees its endpoint before
    /// clients can be given it.
    pub(super) fn configure(
        &self,
        pool: &config::Pool,
        upstream: &config::Upstream,
        prepare: &dyn Fn(&Endpoint),
    ) -> BrokerChange {
        let most = upstream.max_connections.map_or(0, NonZeroU32::get);
        let before = self.endpoint();
        let limit = self.max_connections.swap(most, Ordering::Relaxed) != most;
        let mut change = BrokerChange { limit, ..BrokerChange::default() };
        if before.is_as(pool, upstream) {
            prepare(&before);
        } else {
            let next = Endpoint::new(pool, upstream, &self.metrics, Some(&before));
            prepare(&next);
            change.address = next.address != before.address;
            change.sources = !change.address;
            self.endpoint.store(Arc::new(next));
        }
        self.unresolved.store(self.endpoint().target().is_none(), Ordering::Relaxed);
        change
    }

    /// Where it is reached now.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.load_full()
    }

    /// Notes what the host name of one of its endpoints resolves to; true if that is news.
    pub(super) fn set_resolved(&self, endpoint: &Endpoint, addresses: &[SocketAddr]) -> bool {
        let is_news = endpoint.set_resolved(addresses);
        self.unresolved.store(self.endpoint().target().is_none(), Ordering::Relaxed);
        is_news
    }

    /// The hash of its name: a broker that comes back is the same one.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Sessions at a time; `None` is no limit.
    pub fn max_connections(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.max_connections.load(Ordering::Relaxed))
    }

    /// Whether its host name has no address yet.
    pub(super) fn is_unresolved(&self) -> bool {
        self.unresolved.load(Ordering::Relaxed)
    }

    /// The sessions it carries, or `None` when it takes no more.
    pub fn load(&self) -> Option<u32> {
        let (sessions, most) = (self.sessions(), self.max_connections.load(Ordering::Relaxed));
        let is_full = most > 0 && sessions >= most;
        (!is_full && !self.is_closed()).then_some(sessions)
    }

    /// Sessions on it and on their way to it.
    pub fn sessions(&self) -> u32 {
        self.flags.sessions.load(Ordering::Relaxed)
    }

    /// Whether it would be given more sessions if it had room for them.
    pub fn is_full(&self) -> bool {
        !self.is_closed() && self.load().is_none()
    }

    /// Whether it is given sessions, full or not.
    pub fn is_serving(&self) -> bool {
        self.flags.is(Serving::Yes)
    }

    /// Whether a Server Reference (5.0 §4.13) means this broker.
    pub fn is_called(&self, reference: &str) -> bool {
        self.endpoint().is_called(reference)
    }

    /// Found down, or set down: what becomes of its sessions is the pool's `on_down`.
    pub fn is_dead(&self) -> bool {
        self.flags.dead.load(Ordering::Relaxed)
    }

    /// Taken out of the configuration: what becomes of its sessions is the pool's `on_down`.
    pub fn is_removed(&self) -> bool {
        self.flags.removed.load(Ordering::Relaxed)
    }

    /// Draining, or no longer in the pool: its clients belong to other brokers.
    pub fn is_leaving(&self) -> bool {
        self.flags.leaving.load(Ordering::Relaxed)
    }

    /// Decides whether it is given sessions. Only who can be served waits for admission: a queue
    /// before a broker that serves nobody lets its clients go on to another one.
    pub(super) fn set_serving(
        &self,
        serving: Serving,
        admission: Option<config::Admission>,
        now: Instant,
    ) {
        self.flags.set_serving(serving);
        self.admission.configure(admission, serving == Serving::Yes, &self.metrics, now);
    }

    /// Where in its slow start the broker begins to be `key`'s, from 0 to 1. The same in every
    /// proxy, so that they agree.
    pub fn slow_start_place(&self, key: &[u8]) -> f64 {
        (xxh3_64_with_seed(key, self.slow_start_seed) >> 32) as f64 / f64::from(u32::MAX)
    }

    fn is_closed(&self) -> bool {
        self.flags.is(Serving::No) || self.flags.is(Serving::TrialTaken) || self.is_unresolved()
    }
}

/// What a configuration has changed about a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BrokerChange {
    pub(super) address: bool,
    pub(super) sources: bool,
    pub(super) limit: bool,
}

impl BrokerChange {
    pub(super) fn is_any(self) -> bool {
        self.address || self.sources || self.limit
    }
}
