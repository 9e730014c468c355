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

use self::flows::{Flows, RelayStep};
use super::{
    active::ActiveSession,
    context::WorkerContext,
    end::End,
    evict::{claim_client, end_of_displaced, release_client},
    key_limit,
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
    /// `unsent` is data from the broker that the client has not taken yet.
    pub(crate) fn new(
        context: Rc<WorkerContext>,
        session: ActiveSession,
        unsent: &[u8],
        packets: (Option<ClientPackets>, Option<BrokerPackets>),
    ) -> Self {
        let session = context.sessions.insert(session);
        claim_client(&context, &session);
        let flows = Flows::new(unsent, packets);
        Self { context, session: Some(session), flows }
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
        if let Some(session) = this.leave() {
            let end = end_of_displaced(&this.context, &session, end);
            let end = key_limit::explain(&this.context, &session, end);
            finish(session, end);
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

/// Closes both connections and records the end.
fn finish(session: ActiveSession, end: End) {
    // The sockets and counts are freed now; the record may have to wait for the log.
    let ActiveSession { counters, record, client, upstream, lease, permit, .. } = session;
    let accepted = record.is_accepted();
    client.send_close();
    upstream.send_close();
    drop((client, upstream, lease, permit));
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
