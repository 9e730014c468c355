//! The brokers of a pool, found in DNS.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{
    pace::Pace,
    records::{self, Found, TooHeavy},
    resolver::{Addresses, LookupError, Resolver},
};
use crate::{
    config::{self, Address, Discover, Records, Upstream},
    upstream::{
        broker::{Endpoint, HostAddresses},
        pool::{Changes, Followed, Gone, Pending, Pool, with_discovered},
    },
};

/// The most names in a line of the log.
const NAMES_LOGGED: usize = 20;

/// The brokers of a pool, as DNS has them now.
pub struct Discovered {
    discovered: Vec<Upstream>,
    /// What was left out, and what is not known.
    pub notes: Vec<String>,
    /// Of those that were found, by name.
    addresses: HashMap<Arc<str>, Addresses>,
    ttl: Duration,
    /// Whether some of them have no address yet.
    incomplete: bool,
}

/// Why the brokers of a pool are not known.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    TooHeavy(#[from] TooHeavy),
}

/// Looks up the brokers of a pool. An answer that says nothing of an address in use is none: `known`
/// are the addresses in use.
pub async fn discover(
    from: &Discover,
    resolver: &Arc<Resolver>,
    known: &[IpAddr],
) -> Result<Discovered, DiscoverError> {
    match from.records {
        Records::Srv { port } => discover_services(&from.dns, port, resolver).await,
        Records::Addresses { port } => {
            let all = resolver.addresses(&from.dns).await?;
            if let Some(failure) = &all.missing
                && known.iter().any(|&address| all.is_silent_on(address))
            {
                return Err(failure.clone().into());
            }
            let (found, list) = records::of_addresses(&from.dns, port, &all.list);
            let addresses = found.upstreams.iter().zip(list).map(|(upstream, address)| {
                let one = Addresses { list: vec![address], ttl: all.ttl, missing: None };
                (upstream.name.clone(), one)
            });
            let addresses = addresses.collect();
            Discovered::new(found, addresses, all.ttl)
        }
    }
}

async fn discover_services(
    name: &str,
    port: Option<u16>,
    resolver: &Arc<Resolver>,
) -> Result<Discovered, DiscoverError> {
    let mut services = resolver.services(name).await?;
    for service in &mut services.list {
        service.port = port.unwrap_or(service.port);
    }
    let found = records::of_services(services.list);
    let hosts: HashMap<_, _> = found.upstreams.iter().filter_map(host_of).collect();
    let mut known = services.addresses;
    // Each takes no longer than `PATIENCE`, its wait for others included.
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
    Discovered::new(found, addresses, services.ttl)
}

/// The name of a broker, and its host's.
fn host_of(upstream: &Upstream) -> Option<(Arc<str>, Arc<str>)> {
    match &upstream.address {
        Address::Host(host, _) => Some((upstream.name.clone(), host.clone())),
        Address::Ip(_) | Address::Unix(_) => None,
    }
}

impl Discovered {
    /// All brokers of a pool: those of its configuration first, which also keep their names.
    ///
    /// # Errors
    /// Where they do not fit into its balancer.
    pub fn upstreams(&self, pool: &config::Pool) -> Result<Vec<Upstream>, TooHeavy> {
        with_discovered(pool, self.discovered.iter().cloned())
    }

    fn new(
        mut found: Found,
        addresses: HashMap<Arc<str>, Addresses>,
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
        if let Some(names) = some_of(&unresolved) {
            notes.push(format!("cannot resolve {names}"));
        }
        Ok(Self {
            notes,
            ttl: addresses.values().map(|host| host.ttl).fold(ttl, Duration::min),
            incomplete: !unresolved.is_empty(),
            discovered: found.upstreams,
            addresses,
        })
    }
}

/// Keeps a pool's brokers as DNS has them, for as long as its configuration asks for that.
pub(in crate::upstream) async fn follow(
    mut followed: Followed,
    mut resolver: watch::Receiver<Arc<Resolver>>,
    pending: Pending,
) {
    let mut pending = Some(pending);
    let mut discovery = None;
    loop {
        let Ok(from) = followed.pool().map(|pool| pool.config().discover.clone()) else { return };
        let asked = resolver.borrow_and_update().clone();
        let pause = match from {
            None => {
                discovery = None;
                None
            }
            Some(from) => {
                let known = discovery.take().filter(|known: &Discovery| known.from == from);
                let current = discovery.insert(known.unwrap_or_else(|| Discovery::new(from)));
                let Ok(pause) = current.refresh(&followed, &asked).await else { return };
                Some(pause)
            }
        };
        pending.take();
        let from = discovery.as_ref().map(|discovery: &Discovery| discovery.from.clone());
        if wait(&mut followed, &mut resolver, from.as_ref(), pause).await.is_err() {
            return;
        }
    }
}

/// Until it is time to ask again: at once where other records, or another server, are to be asked.
async fn wait(
    followed: &mut Followed,
    resolver: &mut watch::Receiver<Arc<Resolver>>,
    from: Option<&Discover>,
    pause: Option<Duration>,
) -> Result<(), Gone> {
    let mut due = std::pin::pin!(async {
        match pause {
            Some(pause) => sleep(pause).await,
            None => std::future::pending().await,
        }
    });
    loop {
        tokio::select! {
            () = due.as_mut() => return Ok(()),
            changed = resolver.changed() => return changed.map_err(|_| Gone),
            changed = followed.changed() => {
                changed?;
                if followed.pool()?.config().discover.as_ref() != from {
                    return Ok(());
                }
            }
        }
    }
}

/// The look-ups of one pool's brokers.
struct Discovery {
    from: Discover,
    pace: Pace,
    /// What came of the last look-up, as it is counted.
    outcome: &'static str,
    notes: Vec<String>,
}

impl Discovery {
    fn new(from: Discover) -> Self {
        Self { pace: Pace::new(from.interval), from, outcome: "ok", notes: Vec::new() }
    }

    /// Returns how long to wait before the next time.
    async fn refresh(
        &mut self,
        followed: &Followed,
        resolver: &Arc<Resolver>,
    ) -> Result<Duration, Gone> {
        let known = known_addresses(&*followed.pool()?);
        let answer = discover(&self.from, resolver, &known).await;
        let pool = &*followed.pool()?;
        let answer = answer.and_then(|answer| Ok((self.apply(pool, &answer)?, answer)));
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(DiscoverError::Lookup(LookupError::Empty)) => "empty",
            Err(_) => "failed",
        };
        pool.metrics.count_lookup(outcome);
        let is_news = std::mem::replace(&mut self.outcome, outcome) != outcome;
        let (name, dns) = (&pool.name, &self.from.dns);
        match answer {
            Ok((changes, answer)) => {
                if is_news {
                    tracing::info!(pool = %name, %dns, "DNS has brokers again");
                }
                if self.notes != answer.notes {
                    if !answer.notes.is_empty() {
                        tracing::warn!(pool = %name, %dns, "{}", answer.notes.join("; "));
                    }
                    self.notes.clone_from(&answer.notes);
                }
                self.report(pool, &changes);
                Ok(if answer.incomplete {
                    self.pace.failed()
                } else {
                    self.pace.answered(answer.ttl)
                })
            }
            Err(error) => {
                if is_news {
                    let kept = pool.members().list.len();
                    tracing::warn!(
                        pool = %name, %dns, %error, kept,
                        "cannot discover brokers; keeping the last ones"
                    );
                }
                Ok(self.pace.failed())
            }
        }
    }

    fn apply(&self, pool: &Pool, answer: &Discovered) -> Result<Applied, TooHeavy> {
        // Chosen first, as nobody else can look at the pool while its members change.
        let members = pool.members();
        let known = members
            .list
            .iter()
            .map(|member| (member.broker.name.clone(), known_of(&member.broker.endpoint())));
        let known: HashMap<_, Vec<IpAddr>> = known.collect();
        let place = |upstream: &Upstream| {
            let Address::Host(_, port) = upstream.address else { return None };
            let current = known.get(&upstream.name).cloned().unwrap_or_default();
            // Where the host cannot be looked up, at least the port may be new.
            let all = match answer.addresses.get(&upstream.name) {
                Some(addresses) => addresses.with_known(current),
                None => current,
            };
            let all: Vec<_> = all.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
            Some((upstream.name.clone(), all))
        };
        let places: HashMap<_, _> = answer.discovered.iter().filter_map(place).collect();
        let configured: HashSet<_> =
            members.config.upstreams.iter().map(|upstream| &upstream.name).collect();

        let moved = RefCell::new(BTreeSet::new());
        let prepare = |endpoint: &Endpoint| {
            if let Some(addresses) = places.get(&endpoint.name)
                && !configured.contains(&endpoint.name)
                && endpoint.set_resolved(addresses)
                && known.contains_key(&endpoint.name)
            {
                moved.borrow_mut().insert(endpoint.name.clone());
            }
        };
        let (found, now) = (&answer.discovered, Instant::now());
        let changes = pool.set_discovered(&self.from, found, &prepare, now)?;
        Ok(Applied { changes: changes.unwrap_or_default(), moved: moved.into_inner() })
    }

    fn report(&self, pool: &Pool, discovered: &Applied) {
        let Applied { changes: Changes { added, removed, changed }, moved } = discovered;
        if discovered.changes.is_empty() && moved.is_empty() {
            return;
        }
        let metrics = &pool.metrics;
        metrics.count_discovered("added", added.len());
        metrics.count_discovered("removed", removed.len());
        let changed_only = changed.iter().filter(|name| !moved.contains(*name)).count();
        metrics.count_discovered("changed", moved.len() + changed_only);
        tracing::info!(
            pool = %pool.name,
            dns = %self.from.dns,
            brokers = pool.members().list.len(),
            added = some_of(added),
            removed = some_of(removed),
            changed = some_of(changed),
            moved = some_of(&moved.iter().collect::<Vec<_>>()),
            "brokers discovered"
        );
    }
}

/// What a look-up has changed.
struct Applied {
    changes: Changes,
    /// Brokers whose addresses are others.
    moved: BTreeSet<Arc<str>>,
}

/// The addresses of the brokers that were discovered.
fn known_addresses(pool: &Pool) -> Vec<IpAddr> {
    let members = pool.members();
    let discovered = members.list.iter().skip(members.config.upstreams.len());
    discovered.flat_map(|member| known_of(&member.broker.endpoint())).collect()
}

/// The addresses that a broker has now.
fn known_of(endpoint: &Endpoint) -> Vec<IpAddr> {
    let places = endpoint.places();
    places.iter().flat_map(HostAddresses::iter).map(|place| place.ip()).collect()
}

/// The first of these names; `None` where there are none.
fn some_of(names: &[impl AsRef<str>]) -> Option<String> {
    let first: Vec<_> = names.iter().take(NAMES_LOGGED).map(AsRef::as_ref).collect();
    match names.len() {
        0 => None,
        n if n > NAMES_LOGGED => {
            Some(format!("{} and {} more", first.join(", "), n - NAMES_LOGGED))
        }
        _ => Some(first.join(", ")),
    }
}
