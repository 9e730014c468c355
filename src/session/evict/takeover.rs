//! One client, one session: when a broker accepts a client, its sessions on other brokers end.
//!
//! On the same broker, the broker ends an older session (MQTT-3.1.4-2, MQTT-3.1.4-3 in 5.0); it may
//! not know of sessions on other brokers. A session that a newer session of its client has
//! [replaced at a limit](crate::session::broker_search::replace_own_session) ends here too. A
//! client is identified by its client ID in a pool and the other fields of the pool's key: see
//! [`KeyTemplate::tenant_fields`](crate::balance::KeyTemplate).

use crate::{
    labels::EndCause,
    session::{
        active::ActiveSession,
        clients::{
            DirectoryEntry, TakeoverReason, TenantHash, identified_client, identity, is_of_client,
        },
        context::WorkerContext,
    },
};

/// Enters an accepted session into the directory, and has the client's sessions on other brokers
/// ended.
pub(crate) fn claim_client(context: &WorkerContext, session: &ActiveSession) {
    let Some((hash, client)) = identified_client(session) else { return };
    let view = &session.record.listener.pool;
    let entry = DirectoryEntry {
        session_id: session.record.session_id,
        broker: session.lease.broker().id(),
        slot: session.slot,
        tenant: TenantHash::new(&client),
    };
    let older = context.clients.claim(hash, entry, &view.tenant_fields());
    // Workers see the CONNACKs of one broker in any order. If this session was accepted before one
    // that has already claimed the client, the broker closed it before the other received its
    // CONNACK, and it must not end any session. This is checked after the claim, so that the
    // earlier of two sessions that a broker accepted always notices.
    if !older.is_empty() && !session.upstream.has_ended() {
        context.clients.take_over(&older, identity(view, &client));
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
                TakeoverReason::Replaced { .. } => true,
            };
            if ends {
                session.end(EndCause::TakenOver);
            }
        });
    }
}
