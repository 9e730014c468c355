//! One broker: its endpoint, its sessions, and whether it is given more.

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

pub(crate) use addresses::{HostAddress, HostAddresses};
pub(crate) use endpoint::DialTarget;
pub use endpoint::Endpoint;
pub(super) use flags::{BrokerFlags, Serving};
pub use lease::Lease;
pub(crate) use lease::Trial;

use crate::{
    config,
    limits::AdmissionQueue,
    metrics::{Metrics, UpstreamMetrics},
};

/// One broker of a pool. A name has only one broker: a reload changes it in place, so that waiting
/// clients and existing sessions never hold an outdated one.
#[derive(Debug)]
pub struct Broker {
    pub name: Arc<str>,
    /// The hash of its name.
    id: u64,
    /// Makes a key's position in the slow start independent of the key's broker in the pool.
    slow_start_seed: u64,
    endpoint: ArcSwap<Endpoint>,
    /// Whether the endpoint has no address to dial yet; a worker can read this without loading it.
    unresolved: AtomicBool,
    /// The maximum number of concurrent sessions; 0 means no limit.
    max_connections: AtomicU32,
    pub(super) flags: BrokerFlags,
    pub admission: AdmissionQueue,
    pub metrics: UpstreamMetrics,
}

impl Broker {
    /// `queued` is notified when a client has to wait for admission.
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

    /// Applies the configuration, or the current answer of DNS. `prepare` is called with the
    /// endpoint before clients can be sent there.
    pub(super) fn configure(
        &self,
        pool: &config::Pool,
        upstream: &config::Upstream,
        prepare: &dyn Fn(&Endpoint),
    ) -> BrokerChange {
        let max = upstream.max_connections.map_or(0, NonZeroU32::get);
        let before = self.endpoint();
        let limit = self.max_connections.swap(max, Ordering::Relaxed) != max;
        let mut change = BrokerChange { limit, ..BrokerChange::default() };
        if before.matches(pool, upstream) {
            prepare(&before);
        } else {
            let next = Endpoint::new(pool, upstream, &self.metrics, Some(&before));
            prepare(&next);
            change.address = next.address != before.address;
            change.local_addresses = !change.address;
            self.endpoint.store(Arc::new(next));
        }
        self.unresolved.store(self.endpoint().target().is_none(), Ordering::Relaxed);
        change
    }

    /// Its current endpoint.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.load_full()
    }

    /// Sets the addresses that the host name of `endpoint` resolves to; true if they have changed.
    pub(super) fn set_resolved(&self, endpoint: &Endpoint, addresses: &[SocketAddr]) -> bool {
        let is_changed = endpoint.set_resolved(addresses);
        self.unresolved.store(self.endpoint().target().is_none(), Ordering::Relaxed);
        is_changed
    }

    /// The hash of its name: the same for a broker that is removed and comes back.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The maximum number of concurrent sessions; `None` if there is no limit.
    pub fn max_connections(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.max_connections.load(Ordering::Relaxed))
    }

    /// Whether its host name has no address yet.
    pub(super) fn is_unresolved(&self) -> bool {
        self.unresolved.load(Ordering::Relaxed)
    }

    /// The number of its sessions; `None` if it accepts no more.
    pub fn load(&self) -> Option<u32> {
        let (sessions, max) = (self.sessions(), self.max_connections.load(Ordering::Relaxed));
        let is_full = max > 0 && sessions >= max;
        (!is_full && !self.is_closed()).then_some(sessions)
    }

    /// The number of its sessions, including those being dialled.
    pub fn sessions(&self) -> u32 {
        self.flags.sessions.load(Ordering::Relaxed)
    }

    /// Whether it would be given more sessions if it were not for `max_connections`.
    pub fn is_full(&self) -> bool {
        !self.is_closed() && self.load().is_none()
    }

    /// Whether it is given sessions, regardless of `max_connections`.
    pub fn is_serving(&self) -> bool {
        self.flags.is(Serving::Yes)
    }

    /// Whether a Server Reference (5.0 §4.13) names this broker.
    pub(crate) fn matches_reference(&self, reference: &str) -> bool {
        self.endpoint().matches_reference(reference)
    }

    /// Whether it was found down, or the operator set it down: its sessions follow the pool's
    /// `on_down`.
    pub fn is_down(&self) -> bool {
        self.flags.down.load(Ordering::Relaxed)
    }

    /// Whether it was removed from the configuration: its sessions follow the pool's `on_down`.
    pub fn is_removed(&self) -> bool {
        self.flags.removed.load(Ordering::Relaxed)
    }

    /// Whether it is draining or has left the pool: its clients belong to other brokers.
    pub fn is_leaving(&self) -> bool {
        self.flags.leaving.load(Ordering::Relaxed)
    }

    /// Sets whether it is given sessions. Clients wait for admission only to a broker that serves:
    /// the queue of any other broker lets them go on to the next broker.
    pub(super) fn set_serving(
        &self,
        serving: Serving,
        admission: Option<config::Admission>,
        now: Instant,
    ) {
        self.flags.set_serving(serving);
        self.admission.configure(admission, serving == Serving::Yes, &self.metrics, now);
    }

    /// The progress of the slow start, from 0 to 1, at which the broker begins to take `key`. It is
    /// the same in every proxy, so that they agree.
    pub(crate) fn slow_start_position(&self, key: &[u8]) -> f64 {
        (xxh3_64_with_seed(key, self.slow_start_seed) >> 32) as f64 / f64::from(u32::MAX)
    }

    fn is_closed(&self) -> bool {
        self.flags.is(Serving::No) || self.flags.is(Serving::TrialTaken) || self.is_unresolved()
    }
}

/// The changes that a new configuration has made to a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BrokerChange {
    pub(super) address: bool,
    pub(super) local_addresses: bool,
    pub(super) limit: bool,
}

impl BrokerChange {
    pub(super) fn is_any(self) -> bool {
        self.address || self.local_addresses || self.limit
    }
}
