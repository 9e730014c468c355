//! The remote and local addresses of a broker at one time.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::addresses::HostAddresses;
use crate::{
    config::{self, Address},
    metrics::UpstreamMetrics,
    upstream::{local_addresses::LocalAddresses, no_port::NoPort},
};

/// A broker's address and the local addresses that it is dialled from. It is replaced when either
/// changes; a session keeps the endpoint that it was dialled with.
#[derive(Debug)]
pub struct Endpoint {
    /// The broker's name.
    pub name: Arc<str>,
    pub address: Address,
    /// The addresses that `address` last resolved to. Locked only while they are copied.
    resolved: Mutex<Option<HostAddresses>>,
    pub(crate) local_addresses: LocalAddresses,
}

/// What to dial: the addresses of a host, or a unix socket.
#[derive(Clone, Debug)]
pub(crate) enum DialTarget<'a> {
    Ip(HostAddresses),
    Unix(&'a Path),
}

impl Endpoint {
    /// `before` is the broker's previous endpoint: if the host is the same, its addresses are kept.
    pub(super) fn new(
        pool: &config::Pool,
        upstream: &config::Upstream,
        metrics: &UpstreamMetrics,
        before: Option<&Self>,
    ) -> Self {
        let resolved = match upstream.address {
            Address::Ip(address) => Some(HostAddresses::of_one(address)),
            Address::Unix(_) => None,
            Address::Host(..) => {
                before.filter(|before| before.address == upstream.address).and_then(Self::addresses)
            }
        };
        Self {
            name: upstream.name.clone(),
            address: upstream.address.clone(),
            resolved: Mutex::new(resolved),
            local_addresses: LocalAddresses::new(pool, &upstream.address, metrics),
        }
    }

    /// Whether the endpoint has the addresses of this configuration.
    pub(super) fn matches(&self, pool: &config::Pool, upstream: &config::Upstream) -> bool {
        self.address == upstream.address
            && *self.local_addresses.configured == *pool.source_addresses
    }

    /// What to dial; `None` while the host name is unresolved.
    pub(crate) fn target(&self) -> Option<DialTarget<'_>> {
        match &self.address {
            Address::Unix(path) => Some(DialTarget::Unix(path)),
            Address::Ip(_) | Address::Host(..) => self.addresses().map(DialTarget::Ip),
        }
    }

    /// The addresses in force; `None` for a unix socket, or while the host name is unresolved.
    pub(crate) fn addresses(&self) -> Option<HostAddresses> {
        self.resolved().clone()
    }

    /// Sets the addresses that the host name resolves to; true if they have changed.
    pub(crate) fn set_resolved(&self, addresses: &[SocketAddr]) -> bool {
        // A family without a configured local address may be unable to reach the broker at all.
        let ipv6_first = match &*self.local_addresses.configured {
            [] => true,
            sources => sources.iter().any(IpAddr::is_ipv6),
        };
        let mut resolved = self.resolved();
        let before = resolved.as_ref();
        let Some(after) = HostAddresses::new(addresses, ipv6_first, before) else { return false };
        let is_in = |other: &HostAddresses| {
            after.iter().all(|address| other.iter().any(|it| it == address))
        };
        let is_same = before.is_some_and(|before| before.len() == after.len() && is_in(before));
        *resolved = Some(after);
        !is_same
    }

    /// Makes the next dial begin with this address, which has just worked.
    pub(crate) fn prefer(&self, address: SocketAddr) {
        if let Some(addresses) = &mut *self.resolved() {
            addresses.put_first(address);
        }
    }

    /// Makes the next dial begin with an address other than this one.
    pub(crate) fn avoid(&self, address: SocketAddr) {
        if let Some(addresses) = &mut *self.resolved() {
            addresses.put_last(address);
        }
    }

    /// Warns the operator that clients cannot be sent to this broker, at limited intervals.
    pub(crate) fn warn_no_port(&self, shortage: &NoPort, now: Instant) {
        if self.local_addresses.is_warning_due(now) {
            tracing::warn!(pool = %shortage.pool, upstream = %self.name, "{shortage}");
        }
    }

    fn resolved(&self) -> MutexGuard<'_, Option<HostAddresses>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a Server Reference (5.0 §4.13) names this broker: by its name, or by its host with
    /// or without the port.
    pub(super) fn matches_reference(&self, reference: &str) -> bool {
        let is_host = |host: &str, port: u16| {
            let rest = reference.strip_prefix(host);
            rest.is_some_and(|rest| rest.is_empty() || *rest == format!(":{port}"))
        };
        *self.name == *reference
            || match &self.address {
                Address::Ip(SocketAddr::V4(v4)) => is_host(&v4.ip().to_string(), v4.port()),
                Address::Ip(SocketAddr::V6(v6)) => is_host(&format!("[{}]", v6.ip()), v6.port()),
                Address::Host(host, port) => is_host(host, *port),
                Address::Unix(_) => false,
            }
    }
}
