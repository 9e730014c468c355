//! The relay: passes bytes from each side to the other for as long as the session lasts.
//!
//! An idle session consists of this future and its [`ActiveSession`]: no buffer, no timer.

mod flow;
mod flows;
mod packets;
mod state;

pub(super) use self::{
    flow::RelayedChunk,
    flows::Flows,
    packets::{BrokerPackets, ClientPackets},
    state::FlowsState,
};

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    thread::panicking,
};

use self::flows::{RelayStep, UnfinishedSides};
use super::{
    active::ActiveSession,
    context::WorkerContext,
    counters::Departure,
    end::End,
    evict::{claim_client, end_of_displaced, enter_moved_client, release_client},
    handover::{Parking, park},
    key_limit,
    linger::close_lingering,
    panics::panic_if_requested,
};
use crate::labels::{EndBy, EndCause, EndPhase, Event};

/// A session after its CONNACK, or after the ClientHello that is passed through.
pub(crate) struct Relay {
    context: Rc<WorkerContext>,
    /// `None` once the session has ended.
    session: Option<Rc<ActiveSession>>,
    flows: Flows,
}

impl Relay {
    /// Enters the session in the worker's table and, if it was accepted, in the directory.
    pub(crate) fn new(
        context: Rc<WorkerContext>,
        session: ActiveSession,
        packets: (Option<ClientPackets>, Option<BrokerPackets>),
    ) -> Self {
        let session = context.sessions.insert(session);
        claim_client(&context, &session);
        let flows = Flows::new(packets);
        Self { context, session: Some(session), flows }
    }

    /// Continues a session that has moved here from another process, once it is
    /// [started](Self::unpark).
    pub(crate) fn adopted(
        context: Rc<WorkerContext>,
        session: ActiveSession,
        flows: Flows,
    ) -> Self {
        let session = context.sessions.insert(session);
        enter_moved_client(&context, &session);
        Self { context, session: Some(session), flows }
    }

    /// Lets an adopted session run, or end with the cause that `end` finds.
    pub(crate) fn unpark(&self, end: impl FnOnce(&ActiveSession) -> Option<EndCause>) {
        if let Some(session) = &self.session {
            session.counters.departure.set(Departure::NotAsked);
            self.context.departures.queue(session);
            if let Some(cause) = end(session) {
                session.counters.end_requested.set(Some(cause));
            }
        }
    }

    /// Sends the client the broker's answer, as far as its socket takes it now, and logs and counts
    /// the session. `bytes`: passed on so far, with the answer: from the client, and to it.
    ///
    /// # Errors
    /// The client has gone: the session does not begin.
    pub(crate) fn begin(&mut self, answer: &[u8], bytes: (u64, u64)) -> Result<(), End> {
        let Some(session) = &self.session else { return Ok(()) };
        // Empty if TLS is passed through.
        if !answer.is_empty() {
            let sent = match session.client.try_send(answer) {
                Poll::Ready(Ok(sent)) => sent,
                Poll::Ready(Err(error)) => {
                    return Err(End::failed(EndBy::Client, EndPhase::Connack, &error));
                }
                Poll::Pending => 0,
            };
            self.flows.store_outbound(answer.get(sent..).unwrap_or_default());
        }
        let (record, now) = (&session.record, self.context.seconds());
        session.count_in(bytes.0, now);
        session.count_out(bytes.1, now);
        if record.is_accepted() {
            let version = record.client.as_ref().map(|client| client.version.level());
            record.listener.metrics.count_session(version);
            record.log_connect();
            self.context.departures.queue(session);
        } else {
            // The broker now has to close the connection (MQTT-3.2.2-5, MQTT-3.2.2-7 in 5.0);
            // `half_close` limits the wait for that.
            session.counters.half_closed.set(now);
        }
        Ok(())
    }

    /// Closes both connections of a session that has not begun, and records its end.
    pub(crate) fn reject(mut self, end: End) {
        let Some(session) = self.leave() else { return };
        let ActiveSession { record, client, upstream, .. } = session;
        client.send_close();
        upstream.send_close();
        let bytes = record.handshake_bytes();
        record.end(Event::Reject, bytes, end);
    }
}

impl Future for Relay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(session) = &this.session else { return Poll::Ready(()) };
        match session.counters.departure.get() {
            Departure::Parked => return Poll::Pending,
            Departure::Moved => {
                // Without a line in the log: the session goes on in another process.
                drop(this.leave());
                return Poll::Ready(());
            }
            Departure::NotAsked | Departure::Asked | Departure::Stays(_) => {}
        }
        if !this.flows.watching {
            panic_if_requested(&session.record, "relay");
        }
        let bulk = &this.context.reactor.turn.bulk;
        let admitted = bulk.take_turn(&mut this.flows.ticket);
        let mut step = this.flows.advance(cx, &this.context, session, admitted);
        if session.counters.departure.get() == Departure::Asked
            && !matches!(step, RelayStep::Ended(_))
        {
            match park(&this.context, session, &mut this.flows) {
                Ok(Parking::Parked) => return Poll::Pending,
                Ok(Parking::Stays) => {}
                Err(error) => {
                    let end = End::new(EndBy::Proxy, EndPhase::Relay, EndCause::Error);
                    step = RelayStep::Ended(end.with(error.to_string()));
                }
            }
        }
        let RelayStep::Ended(end) = step else {
            if matches!(step, RelayStep::More) {
                bulk.join(&mut this.flows.ticket, cx);
            }
            return Poll::Pending;
        };
        let unfinished = this.flows.unfinished_sides();
        if let Some(session) = this.leave() {
            let end = end_of_displaced(&this.context, &session, end);
            let end = key_limit::explain(&this.context, &session, end);
            finish(&this.context, session, unfinished, end);
        }
        Poll::Ready(())
    }
}

impl Relay {
    /// Removes the session from the worker's table and the directory.
    fn leave(&mut self) -> Option<ActiveSession> {
        let session = self.session.take()?;
        if session.counters.is_parked() {
            // Its sockets are those of the other process too.
            session.client.leave_reactor();
            session.upstream.leave_reactor();
        }
        self.flows.subtract_unsent(&session);
        session.flush_bytes();
        if session.counters.departure.get() != Departure::Moved {
            release_client(&self.context, &session);
        }
        self.context.departures.forget(&session);
        self.context.sessions.remove(session)
    }
}

/// Drops the session when the worker ends, or in a panic, which ends only this session.
impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(session) = self.leave()
            && panicking()
        {
            finish_in_panic(session);
        }
    }
}

/// Closes both connections and records the end. Those of `unfinished` sides linger.
fn finish(
    context: &Rc<WorkerContext>,
    session: ActiveSession,
    unfinished: UnfinishedSides,
    end: End,
) {
    // The sockets and counts are freed now; the record may have to wait for the log.
    let ActiveSession { counters, record, client, upstream, lease, permit, .. } = session;
    let accepted = record.is_accepted();
    drop((lease, permit));
    for (stream, is_unfinished) in [(client, unfinished.client), (upstream, unfinished.upstream)] {
        if is_unfinished && !stream.is_broken() {
            close_lingering(context, stream);
        } else {
            stream.send_close();
        }
    }
    let end = if accepted {
        end
    } else {
        // The broker's CONNACK ended this connection, whichever side closed first afterwards.
        End::new(EndBy::Upstream, EndPhase::Connack, EndCause::Refused)
    };
    let bytes = (counters.bytes_in.get(), counters.bytes_out.get());
    record.end(event(accepted), bytes, end);
}

/// Resets both connections and records the end. TLS and WebSocket are not called, as they may have
/// panicked.
fn finish_in_panic(session: ActiveSession) {
    let ActiveSession { counters, mut record, client, upstream, .. } = session;
    let accepted = record.is_accepted();
    client.reset_on_close();
    upstream.reset_on_close();
    let bytes = (counters.bytes_in.get(), counters.bytes_out.get());
    record.end_in_panic(event(accepted), bytes, EndPhase::Relay);
}

fn event(accepted: bool) -> Event {
    if accepted { Event::Disconnect } else { Event::Reject }
}
