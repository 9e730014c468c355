//! Sessions go home: those whose client would now be given another broker are ended, a few a second,
//! so that load evens out without a storm.

use std::{rc::Rc, sync::Arc, time::Instant};

use tokio::task::spawn_local;

use super::lost_broker::is_lost;
use crate::{
    labels::EndCause,
    net::sleep,
    session::{
        active::ActiveSession, broker_search::preferred_broker, context::WorkerContext,
        pool_view::PoolView, scan::scan,
    },
    upstream::Broker,
};

/// A session that is to go, if it still is when its time has come.
struct Candidate {
    accepted: Instant,
    slot: usize,
    session: u64,
}

/// Starts sending the sessions of a pool home, if clients have got another home since the last time.
pub(in crate::session) fn start(context: &Rc<WorkerContext>, view: &Rc<PoolView>) {
    let wanted = view.pool.config().rebalance.is_some() && view.moves.get() != view.pool.moves();
    if wanted && !view.rebalancing.replace(true) {
        spawn_local(rebalance(context.clone(), view.clone()));
    }
}

async fn rebalance(context: Rc<WorkerContext>, view: Rc<PoolView>) {
    while view.moves.get() != view.pool.moves() {
        view.moves.set(view.pool.moves());
        let mut candidates = scan(&context, |slot, live| {
            let is_candidate = Rc::ptr_eq(&live.record.origin.pool, &view)
                && live.accepted
                // Whose broker is down or was removed, on_down decides of.
                && !live.lease.broker().is_removed()
                && !is_lost(live)
                && preferred_broker(&context, live).is_some();
            let (accepted, session) = (live.record.accepted, live.record.session);
            is_candidate.then_some(Candidate { accepted, slot, session })
        })
        .await;
        // The oldest last, to be popped first.
        candidates.sort_unstable_by_key(|candidate| std::cmp::Reverse(candidate.accepted));
        // Brokers that have yet to show that they are well: one session is sent to each, and the
        // others when it has been taken.
        let mut on_trial: Vec<Arc<Broker>> = Vec::new();
        let is_wanted = |preferred_broker: &Arc<Broker>, on_trial: &[Arc<Broker>]| {
            !on_trial.iter().any(|broker| Arc::ptr_eq(broker, preferred_broker))
        };
        while let Some(candidate) = candidates.pop() {
            let preferred_broker = candidate.with(&context, |_, preferred_broker| preferred_broker);
            if !preferred_broker
                .is_some_and(|preferred_broker| is_wanted(&preferred_broker, &on_trial))
            {
                continue;
            }
            let at = view.pool.next_move(context.reactor.now());
            sleep(&context.reactor, at.saturating_duration_since(context.reactor.now())).await;
            // Brokers have changed again: what was found out does not hold.
            if view.moves.get() != view.pool.moves() {
                break;
            }
            let preferred_broker = candidate.with(&context, |live, preferred_broker| {
                live.end(EndCause::Rebalance);
                preferred_broker
            });
            on_trial
                .extend(preferred_broker.filter(|preferred_broker| !preferred_broker.is_serving()));
        }
    }
    view.rebalancing.set(false);
}

impl Candidate {
    /// Looks at the session and where it belongs, if it has neither ended nor come to be where it
    /// belongs.
    fn with<T>(
        &self,
        context: &WorkerContext,
        look: impl FnOnce(&ActiveSession, Arc<Broker>) -> T,
    ) -> Option<T> {
        let is_it = |live: &ActiveSession| live.record.session == self.session;
        context.sessions.with(self.slot, |live| {
            let preferred_broker =
                is_it(live).then(|| preferred_broker(context, live)).flatten()?;
            Some(look(live, preferred_broker))
        })?
    }
}
