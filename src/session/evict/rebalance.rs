//! Rebalancing: sessions whose client would now be given another broker, another pool or a refusal
//! are ended, a few per second, so that their clients come back without a reconnect storm.

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
        destination::{CurrentDestination, current_destination},
        pool_view::PoolView,
        table::VISIT_COST,
        walk::walk,
    },
    upstream::Broker,
};

/// Starts to rebalance a pool if the destination of any client may have changed since the last time.
pub(crate) fn start_rebalance(context: &Rc<WorkerContext>, view: &Rc<PoolView>) {
    let is_wanted = view.moves.get() != view.pool.move_count()
        && (view.pool.config().rebalance.is_some() || context.has_rules());
    if is_wanted && !view.rebalancing.replace(true) {
        spawn_local(rebalance(context.clone(), view.clone()));
    }
}

/// Why a session does not belong where it is.
enum Misplacement {
    /// The client prefers another broker of the pool.
    Broker(Arc<Broker>),
    /// The rules send the client elsewhere.
    Elsewhere,
    /// The rules refuse the client.
    Refused,
}

async fn rebalance(context: Rc<WorkerContext>, view: Rc<PoolView>) {
    while view.moves.get() != view.pool.move_count() {
        view.moves.set(view.pool.move_count());
        let mut misplaced = misplaced_sessions(&context, &view).await;
        // Brokers on trial: each is sent one session, and the others only after it was accepted.
        let mut on_trial: Vec<Arc<Broker>> = Vec::new();
        while let Some(oldest) = misplaced.pop() {
            let is_on_trial = |misplacement: &Misplacement| match misplacement {
                Misplacement::Broker(preferred) => {
                    on_trial.iter().any(|broker| Arc::ptr_eq(broker, preferred))
                }
                Misplacement::Elsewhere | Misplacement::Refused => false,
            };
            if misplacement_of(&context, &oldest).is_none_or(|wrong| is_on_trial(&wrong)) {
                continue;
            }
            let at = view.pool.next_move(context.reactor.now());
            sleep(&context.reactor, at.saturating_duration_since(context.reactor.now())).await;
            // The brokers or the rules have changed again, so the result of the walk is out of date.
            if view.moves.get() != view.pool.move_count() {
                break;
            }
            let Some(misplacement) = misplacement_of(&context, &oldest) else { continue };
            let cause = match &misplacement {
                Misplacement::Refused => EndCause::Rule,
                Misplacement::Broker(_) | Misplacement::Elsewhere => EndCause::Rebalance,
            };
            let AgedSession { slot, session_id, .. } = oldest;
            context.sessions.with(slot, session_id, |session| session.end(cause));
            if let Misplacement::Broker(preferred) = misplacement
                && !preferred.is_serving()
            {
                on_trial.push(preferred);
            }
        }
    }
    view.rebalancing.set(false);
}

/// The sessions of a pool that do not belong where they are.
async fn misplaced_sessions(context: &WorkerContext, view: &Rc<PoolView>) -> SessionsByAge {
    let mut misplaced = SessionsByAge::default();
    walk(context, |session| {
        if Rc::ptr_eq(&session.record.listener.pool, view)
            && misplacement(context, session).is_some()
        {
            misplaced.push(session.by_age());
        }
        VISIT_COST
    })
    .await;
    misplaced
}

/// Why a session does not belong where it is; `None` if it does, or has ended.
fn misplacement_of(context: &WorkerContext, session: &AgedSession) -> Option<Misplacement> {
    let AgedSession { slot, session_id, .. } = *session;
    context.sessions.with(slot, session_id, |session| misplacement(context, session)).flatten()
}

fn misplacement(context: &WorkerContext, session: &ActiveSession) -> Option<Misplacement> {
    // If the broker is down or was removed, on_down decides.
    if !session.record.is_accepted() || session.lease.broker().is_removed() || is_lost(session) {
        return None;
    }
    let moves = session.record.listener.pool.pool.config().rebalance.is_some();
    match current_destination(context, session) {
        CurrentDestination::Refused => Some(Misplacement::Refused),
        CurrentDestination::Elsewhere => moves.then_some(Misplacement::Elsewhere),
        CurrentDestination::SamePool if moves => {
            preferred_broker(context, session).map(Misplacement::Broker)
        }
        CurrentDestination::SamePool => None,
    }
}
