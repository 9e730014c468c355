//! One client, one session: those that it has on other brokers end when a broker accepts it.
//!
//! On one broker it is the broker that ends an older session (MQTT-3.1.4-2, MQTT-3.1.4-3 in 5.0);
//! of those on others it may not know. One whose [place](crate::session::broker_search::stand_in) the newer has ends here too.
//! A client is a client ID in a pool, and what else of the
//! pool's key says who it is: see [`KeyTemplate::tenant_fields`](crate::balance::KeyTemplate).

use crate::{
    balance::{Client, TenantFields},
    labels::EndCause,
    session::{
        active::ActiveSession,
        clients::{ClientHash, Held, Newer, Successor, TenantHash, tenant},
        context::WorkerContext,
        pool_view::PoolView,
    },
};

/// Notes an accepted session, and has those end that its client has on other brokers.
pub(in crate::session) fn claim(context: &WorkerContext, live: &ActiveSession, slot: u32) {
    let Some((hash, client)) = guarded(live) else { return };
    let fields = tenant_fields(&live.record.origin.pool);
    let held = Held {
        session: live.record.session,
        broker: live.lease.broker().id(),
        slot,
        tenant: TenantHash::new(&client),
    };
    let older = context.clients.claim(hash, held, fields);
    // Several workers see the CONNACKs of one broker in any order. One that was accepted before a
    // session that has claimed already was closed by the broker before that one had its CONNACK,
    // and ends nobody's session any more. It is asked after the claim, so that of two sessions that
    // a broker accepted one after the other, the earlier always finds out.
    if !older.is_empty() && !live.upstream.has_ended() {
        context.clients.take_over(&older, newer(&live.record.origin.pool, &client));
    }
}

/// Forgets a session that has ended.
pub(in crate::session) fn release(context: &WorkerContext, live: &ActiveSession) {
    if let Some((hash, _)) = guarded(live) {
        context.clients.release(hash, live.record.session);
    }
}

/// Ends those of this worker's sessions that newer ones take the place of.
pub(in crate::session) fn end_older(context: &WorkerContext) {
    for takeover in context.clients.takeovers(context.worker) {
        context.sessions.with(takeover.slot as usize, |live| {
            let ends = match &takeover.by {
                // One whose broker is already gone, or whose client is, ends by itself.
                Successor::Elsewhere(newer) => {
                    live.tally.half_closed.get() == 0 && is_of(live, newer)
                }
                Successor::InItsPlace { .. } => true,
            };
            if live.record.session == takeover.session && ends {
                live.end(EndCause::TakenOver);
            }
        });
    }
}

/// A client that a session is to be compared with.
pub(in crate::session) fn newer(view: &PoolView, client: &Client<'_>) -> Newer {
    let tenant = tenant(client, tenant_fields(view));
    Newer { pool: view.pool.id(), client_id: client.client_id.into(), tenant }
}

/// Whether a session is of the client that has a newer one.
pub(in crate::session) fn is_of(live: &ActiveSession, newer: &Newer) -> bool {
    guarded(live).is_some_and(|(_, client)| {
        live.record.origin.pool.pool.id() == newer.pool
            && *client.client_id == *newer.client_id
            && tenant(&client, tenant_fields(&live.record.origin.pool)) == newer.tenant
    })
}

/// The client whose sessions on several brokers are told apart: one that was accepted, and has an ID.
fn guarded(live: &ActiveSession) -> Option<(ClientHash, Client<'_>)> {
    let record = &live.record;
    let client = record.client.as_ref()?;
    let client = record.for_route(client.client_id(), client.username());
    let guarded = live.accepted && !client.client_id.is_empty();
    guarded.then(|| (ClientHash::new(record.origin.pool.pool.id(), client.client_id), client))
}

/// By the key that the pool has now.
pub(in crate::session) fn tenant_fields(view: &PoolView) -> TenantFields {
    view.refresh();
    view.members().config.balance.key.tenant_fields()
}
