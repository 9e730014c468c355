//! A pool, with all of its brokers up and empty.

use std::sync::Arc;

use tokio::runtime;

use super::report::report;
use crate::{
    balance::{Choice, Router},
    config::{Discover, Dns, Pool, Upstream},
    template::ClientFields,
    upstream,
};

pub(super) struct PoolRouter {
    pub(super) pool: Pool,
    router: Router,
}

impl PoolRouter {
    /// Discovers the brokers of the pool in DNS, if it has `discover`.
    pub(super) fn new(mut pool: Pool, dns: &Dns) -> Result<Self, String> {
        if let Some(from) = &pool.discover {
            let found = discover(&pool, from, dns);
            pool.upstreams = found.map_err(|error| {
                format!("cannot discover the brokers of {}: {error:#}", from.dns)
            })?;
        }
        let router = upstream::router(pool.balance.algorithm, &pool.upstreams);
        Ok(Self { pool, router })
    }

    /// The names of the first `limit` brokers for a client, in the order in which they would be
    /// tried; `Err`: why the choice does not depend on a key.
    pub(super) fn order(
        &mut self,
        client: &ClientFields<'_>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, &'static str> {
        let balance = &self.pool.balance;
        if !balance.algorithm.is_keyed() {
            return Err("the pool's algorithm does not use a key");
        }
        let mut scratch = Vec::new();
        match balance.key.choose(balance.empty_client_id, client, &mut scratch) {
            Choice::Key(key) | Choice::FallbackKey(key) => {
                let mut order = Vec::new();
                while order.len() < limit {
                    let untried = |broker| (!order.contains(&broker)).then_some(0);
                    let Some(next) = self.router.pick(key, &untried) else { break };
                    order.push(next);
                }
                let names = order.into_iter().filter_map(|at| self.pool.upstreams.get(at));
                Ok(names.map(|broker| broker.name.clone()).collect())
            }
            Choice::LeastConnections => Err("no key: least connections"),
            Choice::Assign => Err("no key: an ID is assigned"),
            Choice::Reject => Err("no key: refused"),
        }
    }
}

/// Looks up a pool's brokers in DNS, as the proxy does when it starts.
fn discover(pool: &Pool, from: &Discover, dns: &Dns) -> anyhow::Result<Vec<Upstream>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let resolver = Arc::new(upstream::Resolver::new(dns));
    let answer = runtime.block_on(upstream::discover(from, &resolver, &[]))?;
    let upstreams = answer.upstreams(pool)?;
    for note in answer.notes {
        report(&format_args!("{}: {note}", from.dns));
    }
    Ok(upstreams)
}
