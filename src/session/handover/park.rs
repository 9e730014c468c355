//! A session that parks, to move to another process.

use std::io;

use super::{departures::ParkedSession, state::SessionBody};
use crate::{
    labels::StayReason,
    net::HasTls,
    session::{active::ActiveSession, context::WorkerContext, counters::Departure, relay::Flows},
};

/// What a session that was asked does.
pub(in crate::session) enum Parking {
    /// It waits for the answer.
    Parked,
    /// It goes on as before.
    Stays,
}

/// Parks a session that was asked to, between two steps of its relay.
///
/// # Errors
/// Bytes of the session are lost, so it has to end.
pub(in crate::session) fn park(
    context: &WorkerContext,
    session: &ActiveSession,
    flows: &mut Flows,
) -> io::Result<Parking> {
    debug_assert_eq!(session.counters.departure.get(), Departure::Asked, "the session was asked");
    let parked = match capture(context, session, flows)? {
        Ok(parked) => parked,
        Err(reason) => {
            context.departures.set_stays(session, reason);
            return Ok(Parking::Stays);
        }
    };
    context.departures.set_parked(session, parked);
    Ok(Parking::Parked)
}

/// The state of a session and duplicates of its sockets; the reason if it has to stay.
fn capture(
    context: &WorkerContext,
    session: &ActiveSession,
    flows: &mut Flows,
) -> io::Result<Result<ParkedSession, StayReason>> {
    let ActiveSession {
        counters,
        idle_limit,
        client,
        upstream,
        record,
        // Those of the other process follow from the record.
        slot: _,
        lease: _,
        permit: _,
    } = session;
    let is_ending = counters.end_requested.get().is_some() || session.ends_after_packets();
    if is_ending || !record.is_accepted() {
        return Ok(Err(StayReason::Ending));
    }
    let now = context.seconds();
    let streams = client.capture(now).and_then(|of_client| Ok((of_client, upstream.capture(now)?)));
    let (of_client, of_upstream) = match streams {
        Ok(streams) => streams,
        Err(HasTls) => return Ok(Err(StayReason::Tls)),
    };
    let sockets = client.socket().duplicate();
    let sockets = sockets.and_then(|client| Ok([client, upstream.socket().duplicate()?]));
    let Ok(descriptors) = sockets else { return Ok(Err(StayReason::Descriptors)) };
    let Some(record_state) = record.capture(now) else { return Ok(Err(StayReason::State)) };
    // What has passed here is counted here.
    session.flush_bytes();
    let accepted = context.accept_context(&record.listener);
    let body = SessionBody {
        record: record_state,
        bind: accepted.map(|accepted| accepted.settings.bind.to_string()),
        counters: counters.capture(now),
        idle_limit: idle_limit.clone(),
        flows: flows.capture(context)?,
        client: of_client,
        upstream: of_upstream,
    };
    let id = record.session_id;
    Ok(body
        .encode()
        .map(|state| ParkedSession { id, state, descriptors })
        .map_err(|_| StayReason::State))
}
