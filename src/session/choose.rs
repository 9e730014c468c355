//! From a client to the broker it is to be offered to.

use std::{cell::Cell, num::NonZeroU32, sync::Arc, time::Instant};

use super::{live::Live, shard::Shard, view::PoolView};
use crate::{
    observe::RouteKind,
    route::{Choice, Client},
    upstream::{Broker, Members},
};

/// The client has no identity by the pool's key, and the pool takes none without.
pub(super) struct NoIdentity;

/// By how much a broker's sessions must be above its fair share before those without a key are
/// moved: to move the last tenth costs more than it evens out.
const UNEVEN: f64 = 1.1;

/// The best broker of a pool that can serve and was not tried yet, and by which way it came to be
/// that; `None` if there is none.
pub(super) fn choose(
    shard: &Shard,
    pool: usize,
    client: &Client<'_>,
    tried: &[Arc<Broker>],
) -> Result<Option<(Arc<Broker>, RouteKind)>, NoIdentity> {
    let view = &shard.pools[pool];
    view.refresh();
    let members = view.members();
    let balance = &view.pool.config.balance;
    let mut scratch = shard.key.borrow_mut();
    let choice = balance.key.choose(balance.empty_client_id, client, &mut scratch);
    let key = match choice {
        Choice::Key(key) => Some(key),
        Choice::LeastConnections => None,
        Choice::Reject => return Err(NoIdentity),
    };
    let passed_over = Cell::new(false);
    let load = |index: usize| {
        let broker = &members.list[index].broker;
        let load = broker.load().filter(|_| !tried.iter().any(|other| Arc::ptr_eq(other, broker)));
        passed_over.set(passed_over.get() || load.is_none());
        load
    };
    let pick = Pick { view, members: &members, key, now: shard.reactor.now() };
    let Some(picked) = pick.pick(&load) else { return Ok(None) };
    let route = match key {
        None => RouteKind::EmptyId,
        Some(_) if !balance.algorithm.is_keyed() => RouteKind::Balanced,
        Some(_) if client.client_id.is_empty() && balance.key.uses_client_id() => {
            RouteKind::EmptyId
        }
        // Only a broker that was passed over can have been a better one.
        Some(_) if !passed_over.get() && !pick.is_choosy() => RouteKind::Hash,
        Some(_) => match pick.among(&|_| Some(0)) {
            Some(first) if first == picked => RouteKind::Hash,
            Some(first) if load(first).is_some() && pick.is_warm(first) => RouteKind::Bounded,
            _ => RouteKind::Fallback,
        },
    };
    Ok(Some((members.list[picked].broker.clone(), route)))
}

/// Whether a new session of this one's client would go to another broker, now that brokers have
/// come, gone or changed.
pub(super) fn is_misplaced(shard: &Shard, live: &Live) -> bool {
    let own = live.lease.broker();
    // Of a broker that only looks down the clients are not sent away; `on_down` is for that.
    if !own.is_leaving() && !own.is_serving() {
        return false;
    }
    let Some(client) = &live.record.client else { return false };
    let client = client.for_route(live.record.peer.ip());
    let view = &shard.pools[live.record.origin.pool];
    view.refresh();
    let members = view.members();
    let balance = &view.pool.config.balance;
    let mut scratch = shard.key.borrow_mut();
    let key = match balance.key.choose(balance.empty_client_id, &client, &mut scratch) {
        Choice::Key(key) if balance.algorithm.is_keyed() => Some(key),
        _ => None,
    };
    let is_own = |index: usize| Arc::ptr_eq(&members.list[index].broker, own);
    // As if this session were not there yet.
    let load = |index: usize| match &members.list[index].broker {
        broker if !is_own(index) => broker.load(),
        broker => broker.is_serving().then(|| broker.sessions().saturating_sub(1)),
    };
    let pick = Pick { view, members: &members, key, now: shard.reactor.now() };
    let Some(picked) = pick.pick(&load) else { return false };
    let Some(member) = members.list.iter().find(|member| Arc::ptr_eq(&member.broker, own)) else {
        return true;
    };
    if key.is_some() || own.is_leaving() || member.backup {
        return !is_own(picked);
    }
    let share = FairShare::new(&members, UNEVEN, &load);
    own.sessions().saturating_sub(1) > share.of(member.weight)
}

/// One choice among the brokers of a pool.
struct Pick<'a> {
    view: &'a PoolView,
    members: &'a Members,
    /// `None`: by least connections.
    key: Option<&'a [u8]>,
    now: Instant,
}

impl Pick<'_> {
    /// The best broker that `load` gives for; where it can be, one that has not more than its
    /// share of the load, and is no longer too cold for this key.
    fn pick(&self, load: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        if self.is_choosy() {
            let factor = self.view.pool.config.balance.bounded_load;
            let share = factor.map(|factor| FairShare::new(self.members, factor, load));
            let picked = self.among(&|index| {
                let member = &self.members.list[index];
                load(index).filter(|sessions| {
                    // That all primaries are too warm or too cold is no reason to use a backup.
                    !member.backup
                        && share.as_ref().is_none_or(|share| *sessions < share.of(member.weight))
                        && self.is_warm(index)
                })
            });
            if picked.is_some() {
                return picked;
            }
        }
        self.among(load)
    }

    fn among(&self, load: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        let mut router = self.view.router();
        match self.key {
            Some(key) => router.pick(key, load),
            None => router.pick_least_connections(load),
        }
    }

    /// Whether some brokers are better left alone although they serve.
    fn is_choosy(&self) -> bool {
        let config = &self.view.pool.config;
        config.balance.bounded_load.is_some() || config.slow_start.is_some()
    }

    /// In its slow start a broker takes part of its keys, always the same ones first.
    fn is_warm(&self, index: usize) -> bool {
        let broker = &self.members.list[index].broker;
        let warmth = self.view.pool.warmth(broker, self.now);
        warmth >= 1.0
            || match self.key {
                Some(key) => broker.slow_start_place(key) < warmth,
                None => fastrand::f64() < warmth,
            }
    }
}

/// Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018): no broker
/// has more than so many times the mean.
struct FairShare {
    per_weight: f64,
}

impl FairShare {
    fn new(members: &Members, factor: f64, load: &dyn Fn(usize) -> Option<u32>) -> Self {
        let (mut sessions, mut weight) = (1, 0);
        for (index, member) in members.list.iter().enumerate() {
            if let Some(load) = load(index).filter(|_| !member.backup) {
                sessions += u64::from(load);
                weight += u64::from(member.weight.get());
            }
        }
        Self { per_weight: factor * sessions as f64 / weight.max(1) as f64 }
    }

    fn of(&self, weight: NonZeroU32) -> u32 {
        (self.per_weight * f64::from(weight.get())).ceil() as u32
    }
}
