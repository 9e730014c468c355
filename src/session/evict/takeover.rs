//! One client, one session: when a broker accepts a client, its sessions on other brokers end.
//!
//! On the same broker it is the broker that ends an older session (MQTT-3.1.4-2, MQTT-3.1.4-3 in
//! 5.0); it may not know of those on others. A session that a newer one of its client has
//! [replaced at a limit](crate::session::broker_search::replace_own_session) ends here too. A client
//! is a client ID in a pool, and what else of the pool's key identifies it: see
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

/// Enters an accepted session into the directory, and has its client's sessions on other brokers
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
    let older = context.clients.claim(hash, entry, view.tenant_fields());
    // Workers see the CONNACKs of one broker in any order. If this session was accepted before one
    // that has already claimed, the broker closed it before the other had its CONNACK, and it must
    // not end any session. That is checked after the claim, so that of two sessions that a broker
    // accepted one after the other, the earlier one always notices.
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

/// Ends those of this worker's sessions that newer ones have taken over.
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
