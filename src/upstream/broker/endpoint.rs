//! Where a broker is reached, as the configuration and DNS have it at one time.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::addresses::HostAddresses;
use crate::{
    config::{self, Address},
    metrics::UpstreamMetrics,
    upstream::dial::Sources,
};

/// A broker's address and the local addresses it is dialled from. Replaced as one when either
/// changes; a session keeps the one that it was dialled by.
#[derive(Debug)]
pub struct Endpoint {
    /// The broker's name.
    pub name: Arc<str>,
    pub address: Address,
    /// What `address` last resolved to. Held for a copy.
    resolved: Mutex<Option<HostAddresses>>,
    pub(in crate::upstream) sources: Sources,
}

/// What is dialled.
#[derive(Clone, Debug)]
pub enum Target<'a> {
    Ip(HostAddresses),
    Unix(&'a Path),
}

impl Endpoint {
    /// `before` is the broker's endpoint until now: where the host is the same, its addresses are known.
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
                before.filter(|before| before.address == upstream.address).and_then(Self::places)
            }
        };
        Self {
            name: upstream.name.clone(),
            address: upstream.address.clone(),
            resolved: Mutex::new(resolved),
            sources: Sources::new(pool, &upstream.address, metrics),
        }
    }

    /// Whether the configuration says the same.
    pub(super) fn is_as(&self, pool: &config::Pool, upstream: &config::Upstream) -> bool {
        self.address == upstream.address && *self.sources.configured == *pool.source_addresses
    }

    /// Where to dial; `None` while the host name is unknown.
    pub fn target(&self) -> Option<Target<'_>> {
        match &self.address {
            Address::Unix(path) => Some(Target::Unix(path)),
            Address::Ip(_) | Address::Host(..) => self.places().map(Target::Ip),
        }
    }

    /// The addresses in force; `None` for a unix socket, and while the host name is unknown.
    pub fn places(&self) -> Option<HostAddresses> {
        self.resolved().clone()
    }

    /// Notes what the host name resolves to now; true if that is news.
    pub fn set_resolved(&self, addresses: &[SocketAddr]) -> bool {
        // From a family that no local address is given for, it may not be reached at all.
        let ipv6_first = match &*self.sources.configured {
            [] => true,
            sources => sources.iter().any(IpAddr::is_ipv6),
        };
        let mut resolved = self.resolved();
        let before = resolved.as_ref();
        let Some(after) = HostAddresses::new(addresses, ipv6_first, before) else { return false };
        let is_in =
            |places: &HostAddresses| after.iter().all(|place| places.iter().any(|it| it == place));
        let is_same = before.is_some_and(|before| before.len() == after.len() && is_in(before));
        *resolved = Some(after);
        !is_same
    }

    /// Has the next dial begin with this address, which has just worked.
    pub(in crate::upstream) fn prefer(&self, address: SocketAddr) {
        if let Some(places) = &mut *self.resolved() {
            places.put_first(address);
        }
    }

    /// Has the next dial begin with another address than this one.
    pub(in crate::upstream) fn avoid(&self, address: SocketAddr) {
        if let Some(places) = &mut *self.resolved() {
            places.put_last(address);
        }
    }

    fn resolved(&self) -> MutexGuard<'_, Option<HostAddresses>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a Server Reference (5.0 §4.13) means this broker: its name, or its host with or
    /// without the port.
    pub(super) fn is_called(&self, reference: &str) -> bool {
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
