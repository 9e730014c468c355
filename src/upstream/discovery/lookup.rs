//! One lookup of the brokers of a pool.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    records::{self, FoundBrokers},
    resolver::{LookupError, ResolvedAddresses, Resolver},
};
use crate::{
    config::{self, Address, Discover, Records, Upstream},
    upstream::pool::{WeightLimitExceeded, with_discovered},
};

/// The brokers of a pool in DNS.
pub(crate) struct DiscoveredBrokers {
    pub(super) list: Vec<Upstream>,
    /// Skipped records and hosts that could not be resolved, for the log.
    pub notes: Vec<String>,
    /// The addresses of each broker, by its name.
    pub(super) addresses: HashMap<Arc<str>, ResolvedAddresses>,
    pub(super) ttl: Duration,
    /// Whether some brokers have no address yet.
    pub(super) incomplete: bool,
}

/// Why the brokers of a pool cannot be discovered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiscoverError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    WeightLimitExceeded(#[from] WeightLimitExceeded),
}

/// Looks up the brokers of a pool. `known` are the addresses in use: an answer without the family
/// of one of them counts as a failure.
pub(crate) async fn discover(
    from: &Discover,
    resolver: &Arc<Resolver>,
    known: &[IpAddr],
) -> Result<DiscoveredBrokers, DiscoverError> {
    match from.records {
        Records::Srv { port } => discover_services(&from.dns, port, resolver).await,
        Records::Addresses { port } => {
            let all = resolver.addresses(&from.dns).await?;
            if let Some(failure) = &all.missing
                && known.iter().any(|&address| all.may_still_have(address))
            {
                return Err(failure.clone().into());
            }
            let (found, list) = records::from_addresses(&from.dns, port, &all.list);
            let addresses = found.upstreams.iter().zip(list).map(|(upstream, address)| {
                let one = ResolvedAddresses { list: vec![address], ttl: all.ttl, missing: None };
                (upstream.name.clone(), one)
            });
            let addresses = addresses.collect();
            DiscoveredBrokers::new(found, addresses, all.ttl)
        }
    }
}

async fn discover_services(
    name: &str,
    port: Option<u16>,
    resolver: &Arc<Resolver>,
) -> Result<DiscoveredBrokers, DiscoverError> {
    let mut services = resolver.services(name).await?;
    for service in &mut services.list {
        service.port = port.unwrap_or(service.port);
    }
    let found = records::from_srv(services.list);
    let hosts: HashMap<_, _> = found.upstreams.iter().filter_map(host_of).collect();
    let mut known = services.addresses;
    // Each takes at most `LOOKUP_TIMEOUT`, including the wait for others.
    let mut look_ups = JoinSet::new();
    for host in hosts.values().collect::<BTreeSet<_>>() {
        if !known.contains_key(&**host) {
            let (resolver, host) = (resolver.clone(), host.clone());
            look_ups.spawn(async move { (host.to_string(), resolver.addresses(&host).await) });
        }
    }
    while let Some(looked_up) = look_ups.join_next().await {
        if let Ok((host, Ok(addresses))) = looked_up {
            known.insert(host, addresses);
        }
    }
    let addresses =
        |(name, host): (&Arc<str>, &Arc<str>)| Some((name.clone(), known.get(&**host)?.clone()));
    let addresses = hosts.iter().filter_map(addresses).collect();
    DiscoveredBrokers::new(found, addresses, services.ttl)
}

/// The names of a broker and of its host.
fn host_of(upstream: &Upstream) -> Option<(Arc<str>, Arc<str>)> {
    match &upstream.address {
        Address::Host(host, _) => Some((upstream.name.clone(), host.clone())),
        Address::Ip(_) | Address::Unix(_) => None,
    }
}

impl DiscoveredBrokers {
    /// All brokers of a pool: the configured ones first, which also keep their names.
    ///
    /// # Errors
    /// If the brokers are too heavy for the pool's balancer.
    pub(crate) fn upstreams(
        &self,
        pool: &config::Pool,
    ) -> Result<Vec<Upstream>, WeightLimitExceeded> {
        with_discovered(pool, self.list.iter().cloned())
    }

    fn new(
        mut found: FoundBrokers,
        addresses: HashMap<Arc<str>, ResolvedAddresses>,
        ttl: Duration,
    ) -> Result<Self, DiscoverError> {
        let mut notes = std::mem::take(&mut found.notes);
        if found.upstreams.is_empty() {
            return Err(match &*notes {
                [] => LookupError::Empty,
                notes => LookupError::Failed(notes.join("; ")),
            })?;
        }
        let names = found.upstreams.iter().map(|upstream| &upstream.name);
        let unresolved: Vec<_> = names.filter(|name| !addresses.contains_key(*name)).collect();
        if let Some(names) = first_names(&unresolved) {
            notes.push(format!("cannot resolve {names}"));
        }
        Ok(Self {
            notes,
            ttl: addresses.values().map(|host| host.ttl).fold(ttl, Duration::min),
            incomplete: !unresolved.is_empty(),
            list: found.upstreams,
            addresses,
        })
    }
}

/// The maximum number of names in one log line.
const MAX_LOGGED_NAMES: usize = 20;

/// The first of these names; `None` if the list is empty.
pub(super) fn first_names(names: &[impl AsRef<str>]) -> Option<String> {
    let first: Vec<_> = names.iter().take(MAX_LOGGED_NAMES).map(AsRef::as_ref).collect();
    match names.len() {
        0 => None,
        n if n > MAX_LOGGED_NAMES => {
            Some(format!("{} and {} more", first.join(", "), n - MAX_LOGGED_NAMES))
        }
        _ => Some(first.join(", ")),
    }
}
