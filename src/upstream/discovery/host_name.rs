//! Repeated lookups of the host names of configured brokers.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{lookup_backoff::LookupBackoff, resolver::Resolver};
use crate::{
    config::Address,
    upstream::{
        broker::{Broker, Endpoint, HostAddresses},
        pool::PoolFollower,
        task::AbortOnDrop,
    },
};

/// The longest pause between two lookups, even if the TTL is longer: addresses change without
/// notice.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Looks up the host names of a pool's configured brokers, including brokers that are added later.
/// `startup` is dropped once each name has been looked up.
pub(crate) async fn resolve(
    mut follower: PoolFollower,
    resolver: watch::Receiver<Arc<Resolver>>,
    startup: mpsc::Sender<()>,
) {
    let mut startup = Some(startup);
    let mut looked_up = HashMap::<Arc<str>, (Arc<Endpoint>, AbortOnDrop)>::new();
    while let Ok(pool) = follower.pool() {
        let members = pool.members();
        let configured = members.list.iter().take(members.config.upstreams.len());
        let mut keep_or_start = |broker: &Arc<Broker>| {
            let endpoint = broker.endpoint();
            let Address::Host(host, port) = &endpoint.address else { return None };
            let task = match looked_up.remove(&broker.name) {
                Some((known, task)) if Arc::ptr_eq(&known, &endpoint) => task,
                _ => {
                    let name = HostNameLookups {
                        pool: pool.name.clone(),
                        broker: broker.clone(),
                        endpoint: endpoint.clone(),
                        host: host.clone(),
                        port: *port,
                        backoff: LookupBackoff::new(MAX_PAUSE),
                        failing: false,
                    };
                    AbortOnDrop::spawn(name.run(resolver.clone(), startup.clone()))
                }
            };
            Some((broker.name.clone(), (endpoint, task)))
        };
        looked_up = configured.filter_map(|member| keep_or_start(&member.broker)).collect();
        drop((pool, members));
        startup = None;
        if follower.changed().await.is_err() {
            return;
        }
    }
}

/// The lookups of one name.
struct HostNameLookups {
    pool: Arc<str>,
    broker: Arc<Broker>,
    endpoint: Arc<Endpoint>,
    host: Arc<str>,
    port: u16,
    backoff: LookupBackoff,
    /// Whether the last lookup failed; only the first failure in a row is logged.
    failing: bool,
}

impl HostNameLookups {
    async fn run(
        mut self,
        mut resolver: watch::Receiver<Arc<Resolver>>,
        startup: Option<mpsc::Sender<()>>,
    ) {
        let mut startup = startup;
        loop {
            let asked = resolver.borrow_and_update().clone();
            let pause = self.look_up(&asked).await;
            startup.take();
            tokio::select! {
                () = sleep(pause) => {}
                changed = resolver.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Looks the name up once, and returns the pause before the next lookup.
    async fn look_up(&mut self, resolver: &Resolver) -> Duration {
        let answer = resolver.addresses(&self.host).await;
        let (pool, upstream, host) = (&self.pool, &self.broker.name, &self.host);
        let was_failing = std::mem::replace(&mut self.failing, answer.is_err());
        match answer {
            Ok(answer) => {
                let known = self.endpoint.addresses();
                let known = known.iter().flat_map(HostAddresses::iter).map(|address| address.ip());
                let list: Vec<_> = answer
                    .with_known(known)
                    .into_iter()
                    .map(|ip| SocketAddr::new(ip, self.port))
                    .collect();
                let is_changed = self.broker.set_resolved(&self.endpoint, &list);
                if let Some(addresses) = self.endpoint.addresses()
                    && (is_changed || was_failing)
                {
                    let (address, others) = (addresses.first(), addresses.others_text());
                    tracing::info!(%pool, %upstream, %host, %address, others, "resolved");
                }
                self.backoff.after_answer(answer.ttl)
            }
            Err(error) => {
                if !was_failing {
                    tracing::warn!(
                        %pool, %upstream, %host, %error,
                        "cannot resolve; keeping the last addresses, if any"
                    );
                }
                self.backoff.after_failure()
            }
        }
    }
}
