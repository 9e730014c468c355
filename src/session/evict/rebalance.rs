//! Rebalancing: sessions whose client would now be given another broker are ended, a few per
//! second, so that the load evens out without a reconnect storm.

use std::{rc::Rc, sync::Arc};

use tokio::task::spawn_local;

use super::lost_broker::is_lost;
use crate::{
    labels::EndCause,
    net::sleep,
    session::{
        active::ActiveSession,
        broker_search::preferred_broker,
        by_age::{AgedSession, SessionsByAge},
        context::WorkerContext,
        pool_view::PoolView,
        table::VISIT_COST,
        walk::walk,
    },
    upstream::Broker,
};

/// Starts to rebalance a pool if the preferred broker of any client has changed since the last
/// time.
pub(crate) fn start_rebalance(context: &Rc<WorkerContext>, view: &Rc<PoolView>) {
    let wanted =
        view.pool.config().rebalance.is_some() && view.moves.get() != view.pool.move_count();
    if wanted && !view.rebalancing.replace(true) {
        spawn_local(rebalance(context.clone(), view.clone()));
    }
}

async fn rebalance(context: Rc<WorkerContext>, view: Rc<PoolView>) {
    while view.moves.get() != view.pool.move_count() {
        view.moves.set(view.pool.move_count());
        let mut misplaced = misplaced_sessions(&context, &view).await;
        // Brokers on trial: each is sent one session, and the others only after it was accepted.
        let mut on_trial: Vec<Arc<Broker>> = Vec::new();
        while let Some(oldest) = misplaced.pop() {
            let Some(preferred) = preferred_by(&context, &oldest) else { continue };
            if on_trial.iter().any(|broker| Arc::ptr_eq(broker, &preferred)) {
                continue;
            }
            let at = view.pool.next_move(context.reactor.now());
            sleep(&context.reactor, at.saturating_duration_since(context.reactor.now())).await;
            // The brokers have changed again, so the result of the walk is out of date.
            if view.moves.get() != view.pool.move_count() {
                break;
            }
            if let Some(preferred) = preferred_by(&context, &oldest) {
                let AgedSession { slot, session_id, .. } = oldest;
                context.sessions.with(slot, session_id, |session| {
                    session.end(EndCause::Rebalance);
                });
                on_trial.extend(Some(preferred).filter(|broker| !broker.is_serving()));
            }
        }
    }
    view.rebalancing.set(false);
}

/// The sessions of a pool whose client prefers another broker.
async fn misplaced_sessions(context: &WorkerContext, view: &Rc<PoolView>) -> SessionsByAge {
    let mut misplaced = SessionsByAge::default();
    walk(context, |session| {
        let is_misplaced = Rc::ptr_eq(&session.record.listener.pool, view)
            && session.accepted
            // If the broker is down or was removed, on_down decides.
            && !session.lease.broker().is_removed()
            && !is_lost(session)
            && preferred_broker(context, session).is_some();
        if is_misplaced {
            misplaced.push(session.by_age());
        }
        VISIT_COST
    })
    .await;
    misplaced
}

/// The other broker that the session's client prefers; `None` if the session has ended, or if its
/// own broker is the preferred one.
fn preferred_by(context: &WorkerContext, session: &AgedSession) -> Option<Arc<Broker>> {
    let preferred = |session: &ActiveSession| preferred_broker(context, session);
    context.sessions.with(session.slot, session.session_id, preferred).flatten()
}
