//! Two devices with one client ID end each other's sessions: told apart from a device that
//! reconnects while its older session is still open.
//!
//! A session is displaced if a newer connection of its client ended it: here, when it was taken
//! over; or at its broker, which ends it while the newer CONNECT is there, or says so in its
//! DISCONNECT. From the third within a minute on, [`Duplicates`] takes another device for the
//! cause. A client that does not close in turn, as it vanished earlier, ends by timeout instead,
//! and does not count.
//!
//! [`Duplicates`]: crate::session::clients::ClientDirectory

use std::time::Instant;

use crate::{
    labels::{EndBy, EndCause},
    session::{
        active::ActiveSession,
        clients::{DisplacedSession, identified_client, identity_hash},
        context::WorkerContext,
        end::End,
        record::Record,
    },
};

/// The reason code of a DISCONNECT for a session that a newer one of its client ended (5.0
/// §3.14.2.1).
const SESSION_TAKEN_OVER: u8 = 0x8E;

/// Takes note of a complete CONNECT, before a broker gets it.
pub(crate) fn note_arrival(context: &WorkerContext, record: &Record) {
    let (Some(client), Some(at)) = (&record.client, record.connect_time()) else { return };
    let client = record.for_route(client.client_id(), client.username());
    if !client.client_id.is_empty() {
        let client = identity_hash(&record.listener.pool, &client);
        context.clients.arrivals.note(client, at);
    }
}

/// Takes note that the broker has ended a session whose client has not.
pub(crate) fn note_broker_end(context: &WorkerContext, session: &ActiveSession) {
    let is_displaced = has_newer_connection(context, session);
    session.counters.displaced.set(is_displaced);
}

/// The end of a session, whose cause is `duplicate` if another device with its client ID ended it.
pub(crate) fn end_of_displaced(context: &WorkerContext, session: &ActiveSession, end: End) -> End {
    let Some((_, client)) = identified_client(session) else { return end };
    if !is_displaced(context, session, &end) {
        return end;
    }
    let view = &session.record.listener.pool;
    let displaced = DisplacedSession {
        client: identity_hash(view, &client),
        pool_id: view.pool.id(),
        pool: &view.pool.name,
        client_id: client.client_id,
        username: client.username,
        address: session.record.client_ip(),
    };
    let (now, wall) = (context.reactor.now(), context.reactor.wall_clock());
    if !context.clients.duplicates.note(&displaced, now, wall) {
        return end;
    }
    view.pool.metrics.duplicates.inc();
    End { cause: EndCause::Duplicate, ..end }
}

/// Whether a newer connection of its client ended the session.
fn is_displaced(context: &WorkerContext, session: &ActiveSession, end: &End) -> bool {
    let is_said = session.record.broker_disconnect.get() == Some(SESSION_TAKEN_OVER);
    match (end.by, end.cause) {
        (EndBy::Proxy, EndCause::TakenOver) => true,
        _ if session.record.client_disconnect.get().is_some() => false,
        (EndBy::Upstream, EndCause::Closed) => is_said || session.counters.displaced.get(),
        (EndBy::Upstream, EndCause::Reset) => is_said || has_newer_connection(context, session),
        // A client may close before its broker, once it has the broker's DISCONNECT.
        (EndBy::Client, EndCause::Closed | EndCause::Reset) => is_said,
        _ => false,
    }
}

/// Whether a newer connection of the session's client has just sent its CONNECT.
fn has_newer_connection(context: &WorkerContext, session: &ActiveSession) -> bool {
    let Some((_, client)) = identified_client(session) else { return false };
    let hash = identity_hash(&session.record.listener.pool, &client);
    let own = session.record.connect_time();
    // Not the time of this turn: another worker may have read the CONNECT since.
    let now = Instant::now();
    own.is_some_and(|own| context.clients.arrivals.is_newer_than(own, hash, now))
}
