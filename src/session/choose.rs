//! From a client to the broker it is to be offered to.

use std::cell::Cell;

use super::shard::Shard;
use crate::{
    observe::RouteKind,
    route::{Choice, Client},
};

/// The client has no identity by the pool's key, and the pool takes none without.
pub(super) struct NoIdentity;

/// The best broker of a pool that can serve and was not tried yet, and by which way it came to be
/// that; `None` if there is none.
pub(super) fn choose(
    shard: &Shard,
    pool: usize,
    client: &Client<'_>,
    tried: &[usize],
) -> Result<Option<(usize, RouteKind)>, NoIdentity> {
    let view = &shard.pools[pool];
    let balance = &view.pool.config.balance;
    let mut router = view.router.borrow_mut();
    let mut scratch = shard.key.borrow_mut();
    let passed_over = Cell::new(false);
    let sessions = |broker: usize| {
        let load = view.pool.brokers[broker].load().filter(|_| !tried.contains(&broker));
        passed_over.set(passed_over.get() || load.is_none());
        load
    };
    let key = match balance.key.choose(balance.empty_client_id, client, &mut scratch) {
        Choice::Key(key) => key,
        Choice::LeastConnections => {
            let picked = router.pick_least_connections(&sessions);
            return Ok(picked.map(|broker| (broker, RouteKind::EmptyId)));
        }
        Choice::Reject => return Err(NoIdentity),
    };
    let picked = router.pick(key, &sessions);
    let route = if !balance.algorithm.is_keyed() {
        RouteKind::Balanced
    } else if client.client_id.is_empty() && balance.key.uses_client_id() {
        RouteKind::EmptyId
    // Only a broker that was passed over can have been a better one.
    } else if passed_over.get() && router.pick(key, &|_| Some(0)) != picked {
        RouteKind::Fallback
    } else {
        RouteKind::Hash
    };
    Ok(picked.map(|broker| (broker, route)))
}
