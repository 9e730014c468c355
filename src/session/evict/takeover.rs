//! One client, one session: when a broker accepts a client, its sessions on other brokers end.
//!
//! On the same broker, the broker ends an older session (MQTT-3.1.4-2, MQTT-3.1.4-3 in 5.0); it may
//! not know of sessions on other brokers. A session that a newer session of its client has
//! [replaced at a limit](crate::session::broker_search::replace_own_session) ends here too. A
//! client is identified by its client ID in a pool and the other fields of the pool's key: see
//! [`KeyTemplate::tenant_fields`](crate::balance::KeyTemplate).

use std::rc::Rc;

use crate::{
    labels::EndCause,
    session::{
        active::ActiveSession,
        clients::{
            DirectoryEntry, TakeoverReason, TenantHash, identified_client, identity, is_of_client,
            possible_own_sessions,
        },
        context::WorkerContext,
        destination::{CurrentDestination, current_destination},
    },
    template::ClientFields,
};

/// Enters an accepted session into the directory, and has the client's sessions on other brokers
/// ended.
pub(crate) fn claim_client(context: &WorkerContext, session: &ActiveSession) {
    let Some((hash, client)) = identified_client(session) else { return };
    let view = &session.record.listener.pool;
    let entry = directory_entry(session, &client);
    let older = context.clients.claim(hash, entry, &view.tenant_fields());
    claim_in_other_pools(context, session, &client);
    // Workers see the CONNACKs of one broker in any order. If this session was accepted before one
    // that has already claimed the client, the broker closed it before the other received its
    // CONNACK, and it must not end any session. This is checked after the claim, so that the
    // earlier of two sessions that a broker accepted always notices.
    if !older.is_empty() && !session.upstream.has_ended() {
        context.clients.take_over(&older, identity(view, &client));
    }
}

/// Has the client's sessions in the other pools of its listener ended, if the rules no longer send
/// them there: rules can have moved the client to this pool.
fn claim_in_other_pools(
    context: &WorkerContext,
    session: &ActiveSession,
    client: &ClientFields<'_>,
) {
    let listener = &session.record.listener;
    let Some(accepted) = context.accept_context(listener) else { return };
    if accepted.rules.is_empty() && Rc::ptr_eq(&accepted.listener.pool, &listener.pool) {
        return;
    }
    let mut seen = vec![&listener.pool];
    for other in accepted.rules.iter().chain([&accepted.listener]).map(|other| &other.pool) {
        if seen.iter().any(|view| Rc::ptr_eq(view, other)) {
            continue;
        }
        seen.push(other);
        let older = possible_own_sessions(&context.clients, other, client);
        if !older.is_empty() {
            context.clients.take_over_if_moved(&older, identity(other, client));
        }
    }
}

/// Enters an accepted session that has moved here from another process into the directory.
pub(crate) fn enter_moved_client(context: &WorkerContext, session: &ActiveSession) {
    let Some((hash, client)) = identified_client(session) else { return };
    let view = &session.record.listener.pool;
    let entry = directory_entry(session, &client);
    let (identity, run) = (identity(view, &client), context.recorder.run());
    context.clients.enter_moved(hash, entry, identity, run, &view.tenant_fields());
}

fn directory_entry(session: &ActiveSession, client: &ClientFields<'_>) -> DirectoryEntry {
    DirectoryEntry {
        session_id: session.record.session_id,
        broker: session.lease.broker().id(),
        slot: session.slot,
        tenant: TenantHash::new(client),
    }
}

/// Removes an ended session from the directory.
pub(crate) fn release_client(context: &WorkerContext, session: &ActiveSession) {
    if let Some((hash, _)) = identified_client(session) {
        context.clients.release(hash, session.record.session_id);
    }
}

/// Ends this worker's sessions that newer sessions have taken over.
pub(crate) fn end_older(context: &WorkerContext) {
    for notice in context.clients.take_notices(context.worker) {
        context.sessions.with(notice.slot, notice.session_id, |session| {
            let ends = match &notice.reason {
                // A session whose broker or client has already closed ends by itself.
                TakeoverReason::OnOtherBroker(newer) => {
                    session.counters.half_closed.get() == 0 && is_of_client(session, newer)
                }
                TakeoverReason::InOtherPool(newer) => {
                    session.counters.half_closed.get() == 0
                        && is_of_client(session, newer)
                        && current_destination(context, session) == CurrentDestination::Elsewhere
                }
                TakeoverReason::Replaced { .. } => true,
                TakeoverReason::OlderMoved(older, client) => {
                    if session.counters.half_closed.get() == 0 && is_of_client(session, client) {
                        context.clients.take_over_one(*older, client.clone());
                    }
                    false
                }
            };
            if ends {
                session.end(EndCause::TakenOver);
            }
        });
    }
}
