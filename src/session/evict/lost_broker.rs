//! Sessions whose broker is down, or is no longer in the configuration. They are ended at the pool's
//! `rebalance.rate`, unless `on_down` keeps them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::task::spawn_local;

use crate::{
    config::OnDown,
    labels::EndCause,
    net::sleep,
    session::{
        active::ActiveSession, context::WorkerContext, evict::oldest::Oldest, pool_view::PoolView,
    },
};

/// The sessions of one pool that are to end.
#[derive(Default)]
pub(in crate::session) struct Lost {
    queue: RefCell<Oldest>,
    ending: Cell<bool>,
}

/// Pools in which a sweep has found sessions that are to end.
#[derive(Default)]
pub(in crate::session) struct LostViews(Vec<Rc<PoolView>>);

/// Whether the session is to end, as matters are now.
pub(in crate::session) fn is_lost(live: &ActiveSession) -> bool {
    let broker = live.lease.broker();
    (broker.is_dead() || broker.is_removed())
        && live.record.origin.pool.config().on_down == OnDown::Close
}

impl LostViews {
    /// Queues the session if it is to end and is not in the queue yet.
    pub(in crate::session) fn look_at(&mut self, slot: usize, live: &ActiveSession) {
        if !is_lost(live) || live.tally.queued_to_end.replace(true) {
            return;
        }
        let view = &live.record.origin.pool;
        view.lost.queue.borrow_mut().push(slot, live);
        if !self.0.iter().any(|other| Rc::ptr_eq(other, view)) {
            self.0.push(view.clone());
        }
    }

    /// Ends what was queued, once the sweep is over: only then the oldest is known.
    pub(in crate::session) fn end_all(self, context: &Rc<WorkerContext>) {
        for view in self.0 {
            if !view.lost.ending.replace(true) {
                spawn_local(end_queued(context.clone(), Ending(view)));
            }
        }
    }
}

/// Held while sessions of the pool are being ended.
struct Ending(Rc<PoolView>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.lost.ending.set(false);
    }
}

async fn end_queued(context: Rc<WorkerContext>, ending: Ending) {
    let (pool, queue) = (&ending.0.pool, &ending.0.lost.queue);
    // One whose broker has come back stays, and is queued again should that be lost again.
    let is_wanted = |live: &ActiveSession| {
        let is_lost = is_lost(live);
        live.tally.queued_to_end.set(is_lost);
        is_lost
    };
    let find = || queue.borrow_mut().find(&context, is_wanted);
    while !queue.borrow().is_empty() {
        if find() {
            let now = context.reactor.now();
            let at = pool.next_move(now);
            sleep(&context.reactor, at.saturating_duration_since(now)).await;
            if find() {
                queue.borrow_mut().end_first(&context, cause);
            }
        }
        // However high the rate is, and however many have ended by themselves.
        context.reactor.turn.walks.turn().await;
    }
}

fn cause(live: &ActiveSession) -> EndCause {
    if live.lease.broker().is_removed() { EndCause::Removed } else { EndCause::Down }
}
