//! At a limit, a client's newer session may replace an older session of the same client.
//!
//! The older session ends when a broker has accepted the newer one; otherwise it stays.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    labels::EndPhase,
    net::deadline,
    session::{
        active::ActiveSession,
        clients::{
            DirectoryEntry, ReachedLimit, ReplacedSession, ReplacementQuery, identity,
            is_of_client, possible_own_sessions,
        },
        context::WorkerContext,
        pending::PendingClient,
        reject::Rejection,
    },
    upstream::Broker,
};

/// How long a client waits for the answer of another worker.
const WORKER_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether this client replaces an older session of its own on `broker`.
pub(super) fn has_replaced_on(client: &PendingClient<'_>, broker: &Broker) -> bool {
    client.replaced.iter().any(|replaced| replaced.older.broker == broker.id())
}

/// Lets the client replace an older session of its own that counts towards this limit. Returns
/// whether there is one.
pub(crate) async fn replace_own_session(
    client: &mut PendingClient<'_>,
    limit: ReachedLimit,
) -> Result<bool, Rejection> {
    let is_eligible = |older: &DirectoryEntry| match &limit {
        ReachedLimit::Broker(id) => older.broker == *id,
        ReachedLimit::Address(_) | ReachedLimit::Quotas(_) => true,
    };
    let context = client.context;
    let view = &client.record.listener.pool;
    let routed = client.record.fields();
    let older = possible_own_sessions(&context.clients, view, &routed);
    let newer = Arc::new(identity(view, &routed));
    let replacements = &context.clients.replacements;
    for older in older.into_iter().filter(is_eligible) {
        // One that it replaces already, for another limit, may count towards this one as well.
        let is_replaced =
            |replaced: &ReplacedSession| replaced.older.session_id == older.session_id;
        let is_claimed = client.replaced.iter().any(is_replaced);
        let claim = if is_claimed { None } else { replacements.claim(older, &limit) };
        if !is_claimed && claim.is_none() {
            continue;
        }
        let (reply, replied) = oneshot::channel();
        let limit = limit.clone();
        replacements.ask(ReplacementQuery { older, newer: newer.clone(), limit, reply });
        let (until, replied) = (context.reactor.now() + WORKER_ANSWER_TIMEOUT, pin!(replied));
        let answering = pin!(deadline(&context.reactor, until, replied));
        let answer = client.while_connected(EndPhase::Connect, answering).await;
        if let Ok(Ok(true)) = answer.map_err(|end| client.search_ended(end))? {
            client.replaced.extend(claim);
            return Ok(true);
        }
    }
    Ok(false)
}

/// Answers other workers' queries about this worker's sessions.
pub(crate) fn answer_replacement_queries(context: &WorkerContext) {
    for query in context.clients.replacements.take_queries(context.worker) {
        let ReplacementQuery { older, newer, limit, reply } = query;
        let can_be_replaced = |session: &ActiveSession| {
            // A session that is ending frees its place anyway, and cannot be replaced as well.
            session.counters.end_requested.get().is_none()
                && is_of_client(session, &newer)
                && match &limit {
                    ReachedLimit::Broker(id) => session.lease.broker().id() == *id,
                    ReachedLimit::Address(address) => {
                        session.permit.counted_address() == Some(*address)
                    }
                    ReachedLimit::Quotas(reached) => {
                        reached.iter().all(|quota| session.permit.counts_in(quota))
                    }
                }
        };
        let can = context.sessions.with(older.slot, older.session_id, can_be_replaced);
        // The client may have left in the meantime.
        let _ = reply.send(can == Some(true));
    }
}
