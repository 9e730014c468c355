//! The brokers of the configuration whose address is a host name, looked up again and again.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{pace::Pace, resolver::Resolver};
use crate::{
    config::Address,
    upstream::{
        broker::{Broker, Endpoint, HostAddresses},
        pool::{Followed, Pending},
        task::Task,
    },
};

/// The longest pause between two look-ups, however long an answer holds: names move without notice.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Looks up the host names of a pool's configured brokers, those that are added later too.
pub(in crate::upstream) async fn resolve(
    mut followed: Followed,
    resolver: watch::Receiver<Arc<Resolver>>,
    pending: Pending,
) {
    let mut pending = Some(pending);
    let mut looked_up = HashMap::<Arc<str>, (Arc<Endpoint>, Task)>::new();
    while let Ok(pool) = followed.pool() {
        let members = pool.members();
        let configured = members.list.iter().take(members.config.upstreams.len());
        let mut keep_or_start = |broker: &Arc<Broker>| {
            let endpoint = broker.endpoint();
            let Address::Host(host, port) = &endpoint.address else { return None };
            let task = match looked_up.remove(&broker.name) {
                Some((known, task)) if Arc::ptr_eq(&known, &endpoint) => task,
                _ => {
                    let name = HostName {
                        pool: pool.name.clone(),
                        broker: broker.clone(),
                        endpoint: endpoint.clone(),
                        host: host.clone(),
                        port: *port,
                        pace: Pace::new(LONGEST_PAUSE),
                        failing: false,
                    };
                    Task::spawn(name.keep(resolver.clone(), pending.clone()))
                }
            };
            Some((broker.name.clone(), (endpoint, task)))
        };
        looked_up = configured.filter_map(|member| keep_or_start(&member.broker)).collect();
        drop((pool, members));
        pending = None;
        if followed.changed().await.is_err() {
            return;
        }
    }
}

/// One name, kept as DNS has it.
struct HostName {
    pool: Arc<str>,
    broker: Arc<Broker>,
    endpoint: Arc<Endpoint>,
    host: Arc<str>,
    port: u16,
    pace: Pace,
    failing: bool,
}

impl HostName {
    async fn keep(
        mut self,
        mut resolver: watch::Receiver<Arc<Resolver>>,
        pending: Option<Pending>,
    ) {
        let mut pending = pending;
        loop {
            let asked = resolver.borrow_and_update().clone();
            let pause = self.look_up(&asked).await;
            pending.take();
            tokio::select! {
                () = sleep(pause) => {}
                changed = resolver.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Returns how long to wait before the next time.
    async fn look_up(&mut self, resolver: &Resolver) -> Duration {
        let answer = resolver.addresses(&self.host).await;
        let (pool, upstream, host) = (&self.pool, &self.broker.name, &self.host);
        let was_failing = std::mem::replace(&mut self.failing, answer.is_err());
        match answer {
            Ok(answer) => {
                let known = self.endpoint.places();
                let known = known.iter().flat_map(HostAddresses::iter).map(|place| place.ip());
                let list: Vec<_> = answer
                    .with_known(known)
                    .into_iter()
                    .map(|ip| SocketAddr::new(ip, self.port))
                    .collect();
                let is_news = self.broker.set_resolved(&self.endpoint, &list);
                if let Some(places) = self.endpoint.places()
                    && (is_news || was_failing)
                {
                    let (address, others) = (places.first(), places.others_shown());
                    tracing::info!(%pool, %upstream, %host, %address, others, "resolved");
                }
                self.pace.answered(answer.ttl)
            }
            Err(error) => {
                if !was_failing {
                    tracing::warn!(
                        %pool, %upstream, %host, %error,
                        "cannot resolve; keeping the last addresses, if there were any"
                    );
                }
                self.pace.failed()
            }
        }
    }
}
