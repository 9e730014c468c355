//! Sessions whose broker is down, or is no longer in the configuration. They end at the pool's
//! `rebalance.rate`, unless `on_down` keeps them.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::oldest::{end_oldest, find_oldest};
use crate::{
    config::OnDown,
    labels::EndCause,
    net::sleep,
    session::{active::ActiveSession, context::WorkerContext, pool_view::PoolView},
};

/// Pools in which a sweep has found sessions that have to end.
#[derive(Default)]
pub(crate) struct PoolsWithLostSessions(Vec<Rc<PoolView>>);

/// Whether the session has to end, by the current configuration and health.
pub(crate) fn is_lost(session: &ActiveSession) -> bool {
    let broker = session.lease.broker();
    (broker.is_down() || broker.is_removed())
        && session.record.listener.pool.config().on_down == OnDown::Close
}

impl PoolsWithLostSessions {
    /// Queues the session if it has to end and is not queued yet.
    pub(crate) fn queue_if_lost(&mut self, session: &ActiveSession) {
        if !is_lost(session) || session.counters.queued_to_end.replace(true) {
            return;
        }
        let view = &session.record.listener.pool;
        view.lost_sessions.borrow_mut().push(session.by_age());
        if !self.0.iter().any(|other| Rc::ptr_eq(other, view)) {
            self.0.push(view.clone());
        }
    }

    /// Starts to end the queued sessions. Called after the sweep, because only then is the oldest
    /// one known.
    pub(crate) fn end_all(self, context: &Rc<WorkerContext>) {
        for view in self.0 {
            if !view.ending_lost_sessions.replace(true) {
                spawn_local(end_queued(context.clone(), EndingGuard(view)));
            }
        }
    }
}

/// Held while a task ends the queued sessions of the pool.
struct EndingGuard(Rc<PoolView>);

impl Drop for EndingGuard {
    fn drop(&mut self) {
        self.0.ending_lost_sessions.set(false);
    }
}

async fn end_queued(context: Rc<WorkerContext>, guard: EndingGuard) {
    let (pool, queue) = (&guard.0.pool, &guard.0.lost_sessions);
    // A session whose broker has come back stays, and is queued again if the broker fails again.
    let is_wanted = |session: &ActiveSession| {
        let is_lost = is_lost(session);
        session.counters.queued_to_end.set(is_lost);
        is_lost
    };
    let find = || find_oldest(&mut queue.borrow_mut(), &context.sessions, is_wanted);
    while !queue.borrow().is_empty() {
        if find() {
            let now = context.reactor.now();
            let at = pool.next_move(now);
            sleep(&context.reactor, at.saturating_duration_since(now)).await;
            if find() {
                end_oldest(&mut queue.borrow_mut(), &context.sessions, end_cause);
            }
        }
        // Lets clients run, even at a high rate or after many skipped entries.
        context.reactor.turn.walks.turn().await;
    }
}

fn end_cause(session: &ActiveSession) -> EndCause {
    if session.lease.broker().is_removed() { EndCause::Removed } else { EndCause::Down }
}
