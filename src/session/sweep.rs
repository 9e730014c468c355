//! Work on all sessions of a worker: the one-second sweep, and what signals and reloads require.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::{
    ban_check::find_ban,
    broker_search::answer_replacement_queries,
    context::{SweepState, WorkerContext},
    evict::{PoolsWithLostSessions, end_older, start_rebalance},
    key_limit::end_if_near,
    table::{ACTION_COST, VISIT_COST},
    walk::walk,
};
use crate::{labels::EndCause, net::Ping};

/// Starts the once-a-second sweep over a worker's sessions: byte counts, idle and half-close
/// limits, the limits of TLS keys, Pings to idle WebSockets, new bans, and brokers that are down or
/// were removed. If a sweep is still running, another one follows it.
pub(crate) fn sweep(context: &Rc<WorkerContext>) {
    for view in context.views() {
        // Otherwise a worker without new connections would keep removed brokers.
        view.refresh();
        // A session may have begun after the last look for those that belong elsewhere.
        start_rebalance(context, &view);
    }
    match context.sweep.get() {
        SweepState::Idle => {
            context.sweep.set(SweepState::Running);
            spawn_local(sweep_all(SweepGuard(context.clone())));
        }
        SweepState::Running | SweepState::RunAgain => context.sweep.set(SweepState::RunAgain),
    }
}

/// Ends the sweep when dropped, also after a panic.
struct SweepGuard(Rc<WorkerContext>);

impl Drop for SweepGuard {
    fn drop(&mut self) {
        self.0.sweep.set(SweepState::Idle);
    }
}

async fn sweep_all(guard: SweepGuard) {
    let context = &guard.0;
    loop {
        context.sweep.set(SweepState::Running);
        // Sessions of what has been banned since the last sweep end in this one.
        let bans = context.limiter.rates.bans.additions();
        let has_new_bans = context.swept_bans.replace(bans) != bans;
        if has_new_bans {
            context.new_bans.notify_waiters();
        }
        let mut lost = PoolsWithLostSessions::default();
        walk(context, |session| {
            if session.counters.is_parked() {
                return VISIT_COST;
            }
            session.flush_bytes();
            lost.queue_if_lost(session);
            let timeouts = context.timeouts.get();
            let is_new = session.set_tcp_options_once(&timeouts);
            let mut cost = if is_new { ACTION_COST } else { VISIT_COST };
            let overdue = session.overdue(&timeouts, context.seconds());
            let is_banned = has_new_bans && find_ban(context, &session.record).is_some();
            if let Some(cause) = overdue.or(is_banned.then_some(EndCause::Banned)) {
                session.end(cause);
                cost += ACTION_COST;
                return cost;
            }
            if end_if_near(session) {
                return cost + ACTION_COST;
            }
            match session.client.ping_if_quiet(context.seconds()) {
                Ping::NotDue => {}
                Ping::Sent => cost += ACTION_COST,
                Ping::Unanswered => {
                    session.end(EndCause::Idle);
                    cost += ACTION_COST;
                }
            }
            cost
        })
        .await;
        lost.end_all(context);
        if context.sweep.get() != SweepState::RunAgain {
            return;
        }
    }
}

/// Handles the reasons for which the worker was [signalled](crate::upstream::WorkerSignal): brokers
/// that went down or came back, sessions taken over, and queries about a client's older sessions.
pub(crate) fn on_worker_signal(context: &Rc<WorkerContext>) {
    end_older(context);
    answer_replacement_queries(context);
    let mut went_down = false;
    for view in &context.views().collect::<Vec<_>>() {
        let down_count = view.pool.down_count();
        went_down |= view.deaths.replace(down_count) != down_count;
        start_rebalance(context, view);
    }
    if went_down {
        sweep(context);
    }
}

/// Counts clients by address and in quotas again, under the current limits; drops `done` when
/// finished.
pub(crate) fn recount_clients(context: &Rc<WorkerContext>, done: impl Sized + 'static) {
    let context = context.clone();
    spawn_local(async move {
        walk(&context, |session| {
            session.permit.recount();
            if session.record.is_accepted() {
                session.permit.recount_quotas(|| session.record.fields());
            }
            VISIT_COST
        })
        .await;
        drop(done);
    });
}

/// Ends every session and every handshake, at the end of a drain. No session begins after this.
pub(crate) fn end_all_sessions(context: &Rc<WorkerContext>, cause: EndCause) {
    context.ending.set(Some(cause));
    let context = context.clone();
    spawn_local(async move {
        walk(&context, |session| {
            session.end(cause);
            ACTION_COST
        })
        .await;
        // Wakes the handshakes too, which check `ending`.
        let mut from = Some(0);
        while let Some(slot) = from {
            context.reactor.turn.walks.turn().await;
            from = context.reactor.wake_some(slot);
        }
    });
}
