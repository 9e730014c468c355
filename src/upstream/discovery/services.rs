//! Keeps the brokers of a pool in sync with DNS.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    lookup::{DiscoverError, DiscoveredBrokers, discover, first_names},
    lookup_backoff::LookupBackoff,
    resolver::{LookupError, Resolver},
};
use crate::{
    config::{Address, Discover, Upstream},
    upstream::{
        broker::{Endpoint, HostAddresses},
        pool::{MemberChanges, Pool, PoolDropped, PoolFollower, WeightLimitExceeded},
    },
};

/// Keeps the discovered brokers of a pool up to date while its configuration uses discovery.
/// `startup` is dropped after the first lookup.
pub(crate) async fn follow(
    mut follower: PoolFollower,
    mut resolver: watch::Receiver<Arc<Resolver>>,
    startup: mpsc::Sender<()>,
) {
    let mut startup = Some(startup);
    let mut discovery = None;
    loop {
        let Ok(from) = follower.pool().map(|pool| pool.config().discover.clone()) else { return };
        let asked = resolver.borrow_and_update().clone();
        let pause = match from {
            None => {
                discovery = None;
                None
            }
            Some(from) => {
                let known = discovery.take().filter(|known: &Discovery| known.from == from);
                let current = discovery.insert(known.unwrap_or_else(|| Discovery::new(from)));
                let Ok(pause) = current.refresh(&follower, &asked).await else { return };
                Some(pause)
            }
        };
        startup.take();
        let from = discovery.as_ref().map(|discovery: &Discovery| discovery.from.clone());
        if wait(&mut follower, &mut resolver, from.as_ref(), pause).await.is_err() {
            return;
        }
    }
}

/// Waits until the next lookup is due; at once if the configuration or the DNS servers have
/// changed.
async fn wait(
    follower: &mut PoolFollower,
    resolver: &mut watch::Receiver<Arc<Resolver>>,
    from: Option<&Discover>,
    pause: Option<Duration>,
) -> Result<(), PoolDropped> {
    let mut due = std::pin::pin!(async {
        match pause {
            Some(pause) => sleep(pause).await,
            None => std::future::pending().await,
        }
    });
    loop {
        tokio::select! {
            () = due.as_mut() => return Ok(()),
            changed = resolver.changed() => return changed.map_err(|_| PoolDropped),
            changed = follower.changed() => {
                changed?;
                if follower.pool()?.config().discover.as_ref() != from {
                    return Ok(());
                }
            }
        }
    }
}

/// The lookups of one pool's brokers.
struct Discovery {
    from: Discover,
    backoff: LookupBackoff,
    /// The outcome of the last lookup, as a metric label.
    outcome: &'static str,
    notes: Vec<String>,
}

impl Discovery {
    fn new(from: Discover) -> Self {
        Self { backoff: LookupBackoff::new(from.interval), from, outcome: "ok", notes: Vec::new() }
    }

    /// Looks the brokers up once, and returns the pause before the next lookup.
    async fn refresh(
        &mut self,
        follower: &PoolFollower,
        resolver: &Arc<Resolver>,
    ) -> Result<Duration, PoolDropped> {
        let known = known_addresses(&*follower.pool()?);
        let answer = discover(&self.from, resolver, &known).await;
        let pool = &*follower.pool()?;
        let answer = answer.and_then(|answer| Ok((self.apply(pool, &answer)?, answer)));
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(DiscoverError::Lookup(LookupError::Empty)) => "empty",
            Err(_) => "failed",
        };
        pool.metrics.count_lookup(outcome);
        let is_changed = std::mem::replace(&mut self.outcome, outcome) != outcome;
        let (name, dns) = (&pool.name, &self.from.dns);
        match answer {
            Ok((changes, answer)) => {
                if is_changed {
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
                    self.backoff.after_failure()
                } else {
                    self.backoff.after_answer(answer.ttl)
                })
            }
            Err(error) => {
                if is_changed {
                    let kept = pool.members().list.len();
                    tracing::warn!(
                        pool = %name, %dns, %error, kept,
                        "cannot discover brokers; keeping the last ones"
                    );
                }
                Ok(self.backoff.after_failure())
            }
        }
    }

    fn apply(
        &self,
        pool: &Pool,
        answer: &DiscoveredBrokers,
    ) -> Result<DiscoveryChanges, WeightLimitExceeded> {
        // Collected first, because the pool's state is locked while its members change.
        let members = pool.members();
        let known = members
            .list
            .iter()
            .map(|member| (member.broker.name.clone(), known_of(&member.broker.endpoint())));
        let known: HashMap<_, Vec<IpAddr>> = known.collect();
        let resolved = |upstream: &Upstream| {
            let Address::Host(_, port) = upstream.address else { return None };
            let current = known.get(&upstream.name).cloned().unwrap_or_default();
            // Even if the host cannot be resolved, its port may have changed.
            let all = match answer.addresses.get(&upstream.name) {
                Some(addresses) => addresses.with_known(current),
                None => current,
            };
            let all: Vec<_> = all.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
            Some((upstream.name.clone(), all))
        };
        let addresses: HashMap<_, _> = answer.list.iter().filter_map(resolved).collect();
        let configured: HashSet<_> =
            members.config.upstreams.iter().map(|upstream| &upstream.name).collect();

        let moved = RefCell::new(BTreeSet::new());
        let prepare = |endpoint: &Endpoint| {
            if let Some(addresses) = addresses.get(&endpoint.name)
                && !configured.contains(&endpoint.name)
                && endpoint.set_resolved(addresses)
                && known.contains_key(&endpoint.name)
            {
                moved.borrow_mut().insert(endpoint.name.clone());
            }
        };
        let (found, now) = (&answer.list, Instant::now());
        let changes = pool.set_discovered(&self.from, found, &prepare, now)?;
        Ok(DiscoveryChanges { changes: changes.unwrap_or_default(), moved: moved.into_inner() })
    }

    fn report(&self, pool: &Pool, discovered: &DiscoveryChanges) {
        let DiscoveryChanges { changes: MemberChanges { added, removed, changed }, moved } =
            discovered;
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
            added = first_names(added),
            removed = first_names(removed),
            changed = first_names(changed),
            moved = first_names(&moved.iter().collect::<Vec<_>>()),
            "brokers discovered"
        );
    }
}

/// The changes found by one lookup.
struct DiscoveryChanges {
    changes: MemberChanges,
    /// Brokers whose addresses have changed.
    moved: BTreeSet<Arc<str>>,
}

/// The addresses of the discovered brokers.
fn known_addresses(pool: &Pool) -> Vec<IpAddr> {
    let members = pool.members();
    let discovered = members.discovered();
    discovered.flat_map(|member| known_of(&member.broker.endpoint())).collect()
}

/// The addresses of a broker.
fn known_of(endpoint: &Endpoint) -> Vec<IpAddr> {
    let addresses = endpoint.addresses();
    addresses.iter().flat_map(HostAddresses::iter).map(|address| address.ip()).collect()
}
