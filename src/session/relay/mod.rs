//! The relay: passes bytes from each side to the other for as long as the session lasts.
//!
//! An idle session consists of this future and its [`ActiveSession`]: no buffer, no timer.

mod flow;
mod flows;
mod packets;

pub(super) use self::{
    flow::RelayedChunk,
    packets::{BrokerPackets, ClientPackets},
};

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    thread::panicking,
};

use self::flows::{Flows, RelayStep, UnfinishedSides};
use super::{
    active::ActiveSession,
    context::WorkerContext,
    end::End,
    evict::{claim_client, end_of_displaced, release_client},
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
        if !this.flows.watching {
            panic_if_requested(&session.record, "relay");
        }
        let bulk = &this.context.reactor.turn.bulk;
        let admitted = bulk.take_turn(&mut this.flows.ticket);
        let step = this.flows.advance(cx, &this.context, session, admitted);
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
        self.flows.subtract_unsent(&session);
        session.flush_bytes();
        release_client(&self.context, &session);
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
