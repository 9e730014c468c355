//! The relay: passes bytes from each side to the other for as long as the session lasts.
//!
//! An idle session consists of this future and its [`ActiveSession`]: no buffer, no timer.

mod flow;
mod packets;

pub(super) use self::{
    flow::RelayedChunk,
    packets::{BrokerPackets, ClientPackets},
};

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    thread::panicking,
};

use self::flow::{Flow, FlowError, FlowProgress, FlowShare};
use super::{
    active::ActiveSession,
    context::WorkerContext,
    end::End,
    evict::{claim_client, end_of_displaced, note_broker_end, release_client},
    key_limit,
    panics::panic_if_requested,
};
use crate::{
    labels::{EndBy, EndCause, EndPhase, Event},
    net::{FLOW_BYTES, Stream, TurnTicket},
    proto::mqtt::{DisconnectReason, Version},
};

/// A session after its CONNACK, or after the ClientHello that is passed through.
pub(crate) struct Relay {
    context: Rc<WorkerContext>,
    /// `None` once the session has ended.
    session: Option<Rc<ActiveSession>>,
    flows: Flows,
}

/// Both directions.
struct Flows {
    inbound: Flow,
    outbound: Flow,
    /// `None` if TLS is passed through, as it hides the packets.
    client_packets: Option<ClientPackets>,
    broker_packets: Option<BrokerPackets>,
    /// The session's place in the queue of bulk streams.
    ticket: TurnTicket,
    /// The side that ended first.
    first_to_end: Option<EndBy>,
    /// Whether both sockets wake this task.
    watching: bool,
}

impl Relay {
    /// Enters the session in the worker's table and, if it was accepted, in the directory.
    pub(crate) fn new(
        context: Rc<WorkerContext>,
        session: ActiveSession,
        (client_packets, broker_packets): (Option<ClientPackets>, Option<BrokerPackets>),
    ) -> Self {
        let session = context.sessions.insert(session);
        claim_client(&context, &session);
        let flows = Flows {
            inbound: Flow::default(),
            outbound: Flow::default(),
            client_packets,
            broker_packets,
            ticket: TurnTicket::default(),
            first_to_end: None,
            watching: false,
        };
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
            self.flows.outbound.store(answer.get(sent..).unwrap_or_default());
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

/// The result of one poll.
enum RelayStep {
    Stalled,
    /// There may be more to do in another turn.
    More,
    Ended(End),
}

impl Flows {
    /// Moves data that has arrived; moves bulk streams only if the turn has `admitted` them.
    fn advance(
        &mut self,
        cx: &Context<'_>,
        context: &WorkerContext,
        session: &ActiveSession,
        admitted: bool,
    ) -> RelayStep {
        if let Some(cause) = session.counters.end_requested.get() {
            self.send_disconnect(session, cause);
            return RelayStep::Ended(End::new(EndBy::Proxy, EndPhase::Relay, cause));
        }
        let (client, upstream) = (&session.client, &session.upstream);
        if !self.watching {
            self.watching = true;
            client.watch(cx);
            upstream.watch(cx);
        }
        let now = context.seconds();
        let (inbound_share, outbound_share) = self.shares(session, admitted);
        let packets = &mut self.client_packets;
        let inbound = self.inbound.pump(context, client, upstream, inbound_share, |chunk| {
            session.count_in(chunk.len(), now);
            if let Some(packets) = packets {
                packets.note(&chunk, &session.record, &session.idle_limit);
            }
        });
        // Also after a failed write: the broker's last bytes may say why it closed.
        let packets = &mut self.broker_packets;
        let outbound = self.outbound.pump(context, upstream, client, outbound_share, |chunk| {
            session.count_out(chunk.len(), now);
            if let Some(packets) = packets {
                packets.note(&chunk, &session.record);
            }
        });
        session.hold_back(self.inbound.held_back, self.outbound.held_back, now);
        let (client, upstream) = ((EndBy::Client, client), (EndBy::Upstream, upstream));
        let mut step = RelayStep::Stalled;
        for (moved, from, to) in [(inbound, client, upstream), (outbound, upstream, client)] {
            match moved {
                Ok(FlowProgress::Stalled) => {}
                Ok(FlowProgress::More) => step = RelayStep::More,
                Ok(FlowProgress::Ended) => {
                    if let Some(end) = self.end_half(context, session, from.0) {
                        return RelayStep::Ended(end);
                    }
                    to.1.shutdown();
                    session.counters.half_closed.set(now);
                }
                Err(FlowError::Read(error)) => {
                    return RelayStep::Ended(failed(from.0, to.1, &error));
                }
                Err(FlowError::Write(error)) => {
                    let end = failed(to.0, from.1, &error);
                    if end.cause == EndCause::KeyLimit {
                        self.send_disconnect(session, end.cause);
                    }
                    return RelayStep::Ended(end);
                }
            }
        }
        if session.ends_after_packets() && self.is_between_packets() {
            self.send_disconnect(session, EndCause::KeyLimit);
            return RelayStep::Ended(End::new(EndBy::Proxy, EndPhase::Relay, EndCause::KeyLimit));
        }
        step
    }

    /// Takes note that one side has ended; returns the session's end if both have.
    fn end_half(
        &mut self,
        context: &WorkerContext,
        session: &ActiveSession,
        by: EndBy,
    ) -> Option<End> {
        let first = *self.first_to_end.get_or_insert(by);
        if first == EndBy::Upstream && by == first {
            note_broker_end(context, session);
        }
        let have_both = self.inbound.ended && self.outbound.ended;
        have_both.then(|| End::new(first, EndPhase::Relay, EndCause::Closed))
    }

    /// What each direction may move in this turn: at the end of a session no more than belongs to
    /// the packet under way.
    fn shares(&self, session: &ActiveSession, admitted: bool) -> (FlowShare, FlowShare) {
        let (mut inbound, mut outbound) = (FLOW_BYTES, FLOW_BYTES);
        if session.ends_after_packets() {
            (inbound, outbound) = self.certain_rests();
        }
        let share = |max_bytes: usize| FlowShare { admitted, max_bytes: max_bytes.min(FLOW_BYTES) };
        (share(inbound), share(outbound))
    }

    /// How much of the packets under way is missing, as far as it is certain.
    fn certain_rests(&self) -> (usize, usize) {
        let (client, broker) = (&self.client_packets, &self.broker_packets);
        (
            client.as_ref().map_or(0, ClientPackets::certain_rest),
            broker.as_ref().map_or(0, BrokerPackets::certain_rest),
        )
    }

    /// Whether both sides have been sent whole packets only, and all of them. A side that has ended
    /// completes no packet.
    fn is_between_packets(&self) -> bool {
        let (inbound, outbound) = self.certain_rests();
        let is_complete = |flow: &Flow, rest: usize| !flow.held_back && (rest == 0 || flow.ended);
        is_complete(&self.inbound, inbound) && is_complete(&self.outbound, outbound)
    }

    /// Sends a 5.0 client a DISCONNECT with the reason, if the stream is between two packets.
    fn send_disconnect(&self, session: &ActiveSession, cause: EndCause) {
        if session.record.client.as_ref().is_none_or(|client| client.version != Version::V5) {
            return;
        }
        let reason = match cause {
            EndCause::Idle => DisconnectReason::KeepAliveTimeout,
            EndCause::Drain => DisconnectReason::ServerShuttingDown,
            EndCause::TakenOver => DisconnectReason::SessionTakenOver,
            EndCause::Expired => DisconnectReason::NotAuthorized,
            EndCause::Kicked | EndCause::Banned | EndCause::Rule => {
                DisconnectReason::AdministrativeAction
            }
            EndCause::Down | EndCause::Removed | EndCause::Rebalance | EndCause::KeyLimit => {
                DisconnectReason::UseAnotherServer
            }
            _ => return,
        };
        let packets = self.broker_packets.as_ref();
        let is_at_boundary = packets.is_some_and(BrokerPackets::is_at_boundary);
        if is_at_boundary && self.outbound.unsent_bytes() == 0 {
            let packet = reason.packet();
            if let Poll::Ready(Ok(sent)) = session.client.try_send(&packet) {
                session.counters.bytes_out.set(session.counters.bytes_out.get() + sent as u64);
            }
        }
    }

    /// Data that was read and not sent does not count as relayed.
    fn subtract_unsent(&self, session: &ActiveSession) {
        let ActiveSession { counters, .. } = session;
        counters
            .bytes_in
            .set(counters.bytes_in.get().saturating_sub(self.inbound.unsent_bytes() as u64));
        counters
            .bytes_out
            .set(counters.bytes_out.get().saturating_sub(self.outbound.unsent_bytes() as u64));
    }
}

/// The end after `side` failed. A reset is passed on to the other side.
fn failed(side: EndBy, other: &Stream, error: &io::Error) -> End {
    let end = End::failed(side, EndPhase::Relay, error);
    if end.cause == EndCause::Reset {
        other.reset_on_close();
    }
    end
}
