//! Sessions go home: those whose client would now be given another broker are ended, a few a second,
//! so that load evens out without a storm.

use std::{rc::Rc, sync::Arc, time::Instant};

use tokio::task::spawn_local;

use super::{choose::home, evict::is_lost, live::Live, scan::scan, shard::Shard, view::PoolView};
use crate::{net::sleep, observe::EndCause, upstream::Broker};

/// A session that is to go, if it still is when its time has come.
struct Candidate {
    accepted: Instant,
    slot: usize,
    session: u64,
}

/// Starts sending the sessions of a pool home, if clients have got another home since the last time.
pub(super) fn start(shard: &Rc<Shard>, view: &Rc<PoolView>) {
    let wanted = view.pool.config().rebalance.is_some() && view.moves.get() != view.pool.moves();
    if wanted && !view.rebalancing.replace(true) {
        spawn_local(rebalance(shard.clone(), view.clone()));
    }
}

async fn rebalance(shard: Rc<Shard>, view: Rc<PoolView>) {
    while view.moves.get() != view.pool.moves() {
        view.moves.set(view.pool.moves());
        let mut candidates = scan(&shard, |slot, live| {
            let is_candidate = Rc::ptr_eq(&live.record.origin.pool, &view)
                && live.accepted
                // Whose broker is down or was removed, on_down decides of.
                && !live.lease.broker().is_removed()
                && !is_lost(live)
                && home(&shard, live).is_some();
            let (accepted, session) = (live.record.accepted, live.record.session);
            is_candidate.then_some(Candidate { accepted, slot, session })
        })
        .await;
        // The oldest last, to be popped first.
        candidates.sort_unstable_by_key(|candidate| std::cmp::Reverse(candidate.accepted));
        // Brokers that have yet to show that they are well: one session is sent to each, and the
        // others when it has been taken.
        let mut on_trial: Vec<Arc<Broker>> = Vec::new();
        let is_wanted = |home: &Arc<Broker>, on_trial: &[Arc<Broker>]| {
            !on_trial.iter().any(|broker| Arc::ptr_eq(broker, home))
        };
        while let Some(candidate) = candidates.pop() {
            let home = candidate.with(&shard, |_, home| home);
            if !home.is_some_and(|home| is_wanted(&home, &on_trial)) {
                continue;
            }
            let at = view.pool.next_move(shard.reactor.now());
            sleep(&shard.reactor, at.saturating_duration_since(shard.reactor.now())).await;
            // Brokers have changed again: what was found out does not hold.
            if view.moves.get() != view.pool.moves() {
                break;
            }
            let home = candidate.with(&shard, |live, home| {
                live.end(EndCause::Rebalance);
                home
            });
            on_trial.extend(home.filter(|home| !home.is_serving()));
        }
    }
    view.rebalancing.set(false);
}

impl Candidate {
    /// Looks at the session and where it belongs, if it has neither ended nor come to be where it
    /// belongs.
    fn with<T>(&self, shard: &Shard, look: impl FnOnce(&Live, Arc<Broker>) -> T) -> Option<T> {
        let is_it = |live: &Live| live.record.session == self.session;
        shard.sessions.with(self.slot, |live| {
            let home = is_it(live).then(|| home(shard, live)).flatten()?;
            Some(look(live, home))
        })?
    }
}
