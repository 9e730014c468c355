//! A session that parks, to move to another process.

use std::io;

use super::{departures::ParkedSession, state::SessionBody};
use crate::{
    labels::StayReason,
    net::{CaptureError, Stream},
    session::{active::ActiveSession, context::WorkerContext, counters::Departure, relay::Flows},
};

/// Bytes reserved for a state without data on its way: more than one without long names takes.
const STATE_CAPACITY: usize = 8 * 1024;

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
    let stays = match capture(context, session, flows) {
        Ok(parked) => {
            context.departures.set_parked(session, parked);
            return Ok(Parking::Parked);
        }
        // Its state is on its way: going on here would use one sequence of records twice.
        Err(Failed::Parked) => return Ok(Parking::Parked),
        Err(Failed::Stays(reason)) => Ok(reason),
        Err(Failed::BytesLost(error)) => Err(error),
    };
    session.client.resume();
    session.upstream.resume();
    let reason = stays?;
    if reason != StayReason::Descriptors || !context.departures.postpone(session) {
        context.departures.set_stays(session, reason);
    }
    Ok(Parking::Stays)
}

enum Failed {
    Parked,
    Stays(StayReason),
    BytesLost(io::Error),
}

/// The state of a session and duplicates of its sockets.
fn capture(
    context: &WorkerContext,
    session: &ActiveSession,
    flows: &mut Flows,
) -> Result<ParkedSession, Failed> {
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
    let stays = |reason| Failed::Stays(reason);
    let is_ending = counters.end_requested.get().is_some() || session.ends_after_packets();
    if is_ending || !record.is_accepted() {
        return Err(stays(StayReason::Ending));
    }
    let now = context.seconds();
    let duplicate =
        |stream: &Stream| stream.socket().duplicate().map_err(|_| stays(StayReason::Descriptors));
    let descriptors = [duplicate(client)?, duplicate(upstream)?];
    let record_state = record.capture(now).ok_or_else(|| stays(StayReason::State))?;
    let capture = |stream: &Stream| {
        stream.capture(now).map_err(|error| match error {
            CaptureError::Violated => stays(StayReason::Ending),
            CaptureError::Captured => Failed::Parked,
        })
    };
    let (client, upstream) = (capture(client)?, capture(upstream)?);
    // What has passed here is counted here.
    session.flush_bytes();
    let accepted = context.accept_context(&record.listener);
    let body = SessionBody {
        record: record_state,
        bind: accepted.map(|accepted| accepted.settings.bind.to_string()),
        counters: counters.capture(now),
        idle_limit: idle_limit.clone(),
        flows: flows.capture(&context.pipes).map_err(Failed::BytesLost)?,
        client,
        upstream,
    };
    let bytes = STATE_CAPACITY + flows.unsent_bytes();
    let state = body.encode(bytes).map_err(|_| stays(StayReason::State))?;
    Ok(ParkedSession { id: record.session_id, state, descriptors })
}
