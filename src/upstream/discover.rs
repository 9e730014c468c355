//! The brokers of a pool, found in DNS.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    broker::{Broker, Target},
    members::Changes,
    pace::{Pace, Refresh},
    pool::Pool,
    records::{self, Found, TooHeavy},
    resolver::{Addresses, LookupError, Resolver},
};
use crate::config::{self, Address, Discover, Records, Upstream};

/// The most names in a line of the log.
const NAMES_LOGGED: usize = 20;

/// The brokers of a pool, as DNS has them now.
pub struct Answer {
    /// Those of the configuration first.
    pub upstreams: Vec<Upstream>,
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
    pool: &config::Pool,
    from: &Discover,
    resolver: &Arc<Resolver>,
    known: &[IpAddr],
) -> Result<Answer, DiscoverError> {
    match from.records {
        Records::Srv { port } => discover_services(pool, &from.dns, port, resolver).await,
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
            Answer::new(pool, found, addresses, all.ttl)
        }
    }
}

async fn discover_services(
    pool: &config::Pool,
    name: &str,
    port: Option<u16>,
    resolver: &Arc<Resolver>,
) -> Result<Answer, DiscoverError> {
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
    Answer::new(pool, found, addresses, services.ttl)
}

/// The name of a broker, and its host's.
fn host_of(upstream: &Upstream) -> Option<(Arc<str>, Arc<str>)> {
    match &upstream.address {
        Address::Host(host, _) => Some((upstream.name.clone(), host.clone())),
        Address::Ip(_) | Address::Unix(_) => None,
    }
}

impl Answer {
    fn new(
        pool: &config::Pool,
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
            upstreams: found.behind(pool)?,
            addresses,
        })
    }
}

/// Keeps a pool's brokers as DNS has them.
pub struct Discovery {
    pool: Arc<Pool>,
    from: Discover,
    resolver: Arc<Resolver>,
    pace: Pace,
    /// What came of the last look-up, as it is counted.
    outcome: &'static str,
    notes: Vec<String>,
}

impl Discovery {
    /// `None` for a pool whose brokers are all in the configuration.
    pub fn new(pool: &Arc<Pool>, resolver: &Arc<Resolver>) -> Option<Self> {
        let from = pool.config().discover.clone()?;
        Some(Self {
            pool: pool.clone(),
            pace: Pace::new(from.interval),
            from,
            resolver: resolver.clone(),
            outcome: "ok",
            notes: Vec::new(),
        })
    }

    /// The addresses of brokers that were discovered.
    fn known(&self) -> Vec<IpAddr> {
        let members = self.pool.members();
        let discovered = members.list.iter().skip(members.config.upstreams.len());
        discovered.filter_map(|member| address_of(&member.broker)).map(|a| a.ip()).collect()
    }

    fn apply(&self, answer: &Answer) {
        // Chosen first, as nobody else can look at the pool while its members change.
        let members = self.pool.members();
        let known = members.list.iter().map(|member| (&member.broker.name, &*member.broker));
        let known: HashMap<_, _> = known.collect();
        let place = |upstream: &Upstream| {
            let Address::Host(_, port) = upstream.address else { return None };
            let current = known.get(&upstream.name).and_then(|broker| address_of(broker));
            let current = current.map(|address| address.ip());
            // Where the host cannot be looked up, at least the port may be new.
            let ip = match answer.addresses.get(&upstream.name) {
                Some(addresses) => addresses.pick(current),
                None => current,
            };
            Some((upstream.name.clone(), SocketAddr::new(ip?, port)))
        };
        let discovered = answer.upstreams.iter().skip(members.config.upstreams.len());
        let places: HashMap<_, _> = discovered.filter_map(place).collect();

        let moved = RefCell::new(BTreeSet::new());
        let prepare = |broker: &Broker| {
            if let Some(&address) = places.get(&broker.name)
                && broker.set_resolved(address)
                && known.contains_key(&broker.name)
            {
                moved.borrow_mut().insert(broker.name.clone());
            }
        };
        let changes = self.pool.set_members(&answer.upstreams, &prepare, Instant::now());
        self.report(&changes, &moved.into_inner());
    }

    fn report(&self, changes: &Changes, moved: &BTreeSet<Arc<str>>) {
        let Changes { added, removed, changed } = changes;
        if changes.is_empty() && moved.is_empty() {
            return;
        }
        let metrics = &self.pool.metrics;
        metrics.count_discovered("added", added.len());
        metrics.count_discovered("removed", removed.len());
        let changed_only = changed.iter().filter(|name| !moved.contains(*name)).count();
        metrics.count_discovered("changed", moved.len() + changed_only);
        tracing::info!(
            pool = %self.pool.name,
            dns = %self.from.dns,
            brokers = self.pool.members().list.len(),
            added = some_of(added),
            removed = some_of(removed),
            changed = some_of(changed),
            moved = some_of(&moved.iter().collect::<Vec<_>>()),
            "brokers discovered"
        );
    }
}

impl Refresh for Discovery {
    async fn refresh(&mut self) -> Duration {
        let known = self.known();
        let answer = discover(&self.pool.config(), &self.from, &self.resolver, &known).await;
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(DiscoverError::Lookup(LookupError::Empty)) => "empty",
            Err(_) => "failed",
        };
        self.pool.metrics.count_lookup(outcome);
        let is_news = std::mem::replace(&mut self.outcome, outcome) != outcome;
        let (pool, dns) = (&self.pool.name, &self.from.dns);
        match answer {
            Ok(answer) => {
                if is_news {
                    tracing::info!(%pool, %dns, "DNS has brokers again");
                }
                if self.notes != answer.notes {
                    if !answer.notes.is_empty() {
                        tracing::warn!(%pool, %dns, "{}", answer.notes.join("; "));
                    }
                    self.notes.clone_from(&answer.notes);
                }
                self.apply(&answer);
                if answer.incomplete { self.pace.failed() } else { self.pace.answered(answer.ttl) }
            }
            Err(error) => {
                if is_news {
                    let kept = self.pool.members().list.len();
                    tracing::warn!(%pool, %dns, %error, kept, "cannot discover brokers; keeping the last ones");
                }
                self.pace.failed()
            }
        }
    }
}

fn address_of(broker: &Broker) -> Option<SocketAddr> {
    match broker.target() {
        Some(Target::Ip(address)) => Some(address),
        Some(Target::Unix(_)) | None => None,
    }
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
