//! A broker of the configuration whose address is a host name.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    broker::{Broker, Target},
    pace::{Pace, Refresh},
    resolver::Resolver,
};
use crate::config::Address;

/// The longest pause between two look-ups, however long an answer holds: names move without notice.
const LONGEST: Duration = Duration::from_secs(30);

/// Keeps a broker's address as DNS has it.
pub struct HostName {
    pool: Arc<str>,
    broker: Arc<Broker>,
    host: Arc<str>,
    port: u16,
    resolver: Arc<Resolver>,
    pace: Pace,
    failing: bool,
}

impl HostName {
    /// `None` for a broker whose address needs no look-up.
    pub fn new(pool: &Arc<str>, broker: &Arc<Broker>, resolver: &Arc<Resolver>) -> Option<Self> {
        let Address::Host(host, port) = &broker.address else { return None };
        Some(Self {
            pool: pool.clone(),
            broker: broker.clone(),
            host: host.clone(),
            port: *port,
            resolver: resolver.clone(),
            pace: Pace::new(LONGEST),
            failing: false,
        })
    }
}

impl Refresh for HostName {
    async fn refresh(&mut self) -> Duration {
        let answer = self.resolver.addresses(&self.host).await;
        let (pool, upstream, host) = (&self.pool, &self.broker.name, &self.host);
        let was_failing = std::mem::replace(&mut self.failing, answer.is_err());
        match answer {
            Ok(answer) => {
                let current = match self.broker.target() {
                    Some(Target::Ip(address)) => Some(address.ip()),
                    Some(Target::Unix(_)) | None => None,
                };
                if let Some(ip) = answer.pick(current) {
                    let address = SocketAddr::new(ip, self.port);
                    if self.broker.set_resolved(address) || was_failing {
                        tracing::info!(%pool, %upstream, %host, %address, "resolved");
                    }
                }
                self.pace.answered(answer.ttl)
            }
            Err(error) => {
                if !was_failing {
                    tracing::warn!(
                        %pool, %upstream, %host, %error,
                        "cannot resolve; keeping the last address, if there was one"
                    );
                }
                self.pace.failed()
            }
        }
    }
}
