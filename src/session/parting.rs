//! Sessions whose broker, or whose pool, is no longer in the configuration: they are ended a few a
//! second, so that their clients do not all come back at once.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::{live::Live, scan::scan, shard::Shard};
use crate::{config::OnDown, observe::EndCause, transport::sleep};

/// Starts ending them, unless that is under way.
pub(super) fn start(shard: &Rc<Shard>) {
    if !shard.parting.replace(true) {
        spawn_local(part(shard.clone()));
    }
}

/// Whether this is such a session, and its pool says that it is to end.
pub(super) fn is_to_part(live: &Live) -> bool {
    live.lease.broker().is_removed() && live.record.origin.pool.config().on_down == OnDown::Close
}

async fn part(shard: Rc<Shard>) {
    let parting =
        scan(&shard, |slot, live| is_to_part(live).then_some((slot, live.record.session)));
    for (slot, session) in parting.await {
        let is_it = |live: &Live| live.record.session == session && is_to_part(live);
        let pool = shard
            .sessions
            .with(slot, |live| is_it(live).then(|| live.record.origin.pool.pool.clone()));
        let Some(Some(pool)) = pool else { continue };
        let at = pool.next_move(shard.reactor.now());
        sleep(&shard.reactor, at.saturating_duration_since(shard.reactor.now())).await;
        shard.sessions.with(slot, |live| {
            if is_it(live) {
                live.end(EndCause::Removed);
            }
        });
    }
    shard.parting.set(false);
}
