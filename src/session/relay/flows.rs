//! Both directions of a relay, and when they end.

use std::{
    io,
    task::{Context, Poll},
};

use super::{
    flow::{Flow, FlowError, FlowProgress, FlowShare},
    packets::{BrokerPackets, ClientPackets},
};
use crate::{
    labels::{EndBy, EndCause, EndPhase},
    net::{FLOW_BYTES, TurnTicket},
    proto::mqtt::{DisconnectReason, Version},
    session::{active::ActiveSession, context::WorkerContext, end::End, evict::note_broker_end},
};

/// Both directions.
pub(crate) struct Flows {
    pub(super) inbound: Flow,
    pub(super) outbound: Flow,
    /// `None` if TLS is passed through, as it hides the packets.
    pub(super) client_packets: Option<ClientPackets>,
    pub(super) broker_packets: Option<BrokerPackets>,
    /// The session's place in the queue of bulk streams.
    pub(super) ticket: TurnTicket,
    /// The side that ended first.
    pub(super) first_to_end: Option<EndBy>,
    /// Whether both sockets wake this task.
    pub(super) watching: bool,
    /// Whether a reset of one side is passed on to the other.
    pub(super) passes_reset: bool,
}

/// The sides whose end has not been read: they may still send, and may not have read everything.
#[derive(Clone, Copy)]
pub(super) struct UnfinishedSides {
    pub(super) client: bool,
    pub(super) upstream: bool,
}

/// The result of one poll.
pub(super) enum RelayStep {
    Stalled,
    /// There may be more to do in another turn.
    More,
    Ended(End),
}

impl Flows {
    /// Keeps bytes from the broker that the client has not taken yet.
    pub(super) fn store_outbound(&mut self, bytes: &[u8]) {
        self.outbound.store(bytes);
    }

    pub(super) fn new(
        (client_packets, broker_packets): (Option<ClientPackets>, Option<BrokerPackets>),
    ) -> Self {
        Self {
            inbound: Flow::default(),
            outbound: Flow::default(),
            client_packets,
            broker_packets,
            ticket: TurnTicket::default(),
            first_to_end: None,
            watching: false,
            passes_reset: false,
        }
    }

    /// Moves data that has arrived; moves bulk streams only if the turn has `admitted` them.
    pub(super) fn advance(
        &mut self,
        cx: &Context<'_>,
        context: &WorkerContext,
        session: &ActiveSession,
        admitted: bool,
    ) -> RelayStep {
        if let Some(cause) = session.counters.end_requested.get() {
            return self.end(session, cause);
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
        let step = self.conclude(context, session, inbound, outbound);
        let is_over = session.ends_after_packets() && self.is_between_packets();
        match step {
            RelayStep::Stalled | RelayStep::More if is_over => {
                self.end(session, EndCause::KeyLimit)
            }
            step => step,
        }
    }

    /// What follows from how far the directions got.
    fn conclude(
        &mut self,
        context: &WorkerContext,
        session: &ActiveSession,
        inbound: Result<FlowProgress, FlowError>,
        outbound: Result<FlowProgress, FlowError>,
    ) -> RelayStep {
        let client = (EndBy::Client, &session.client);
        let upstream = (EndBy::Upstream, &session.upstream);
        let mut step = RelayStep::Stalled;
        for (moved, from, to) in [(inbound, client, upstream), (outbound, upstream, client)] {
            match moved {
                Ok(FlowProgress::Stalled) => {}
                Ok(FlowProgress::More) => step = RelayStep::More,
                Ok(FlowProgress::Ended) => {
                    let first = *self.first_to_end.get_or_insert(from.0);
                    if first == EndBy::Upstream && from.0 == first {
                        note_broker_end(context, session);
                    }
                    if self.inbound.ended && self.outbound.ended {
                        return RelayStep::Ended(End::new(
                            first,
                            EndPhase::Relay,
                            EndCause::Closed,
                        ));
                    }
                    to.1.shutdown();
                    session.counters.half_closed.set(context.seconds());
                }
                Err(FlowError::Read(error)) => {
                    return RelayStep::Ended(self.failed(session, from.0, &error));
                }
                Err(FlowError::Write(error)) => {
                    let end = self.failed(session, to.0, &error);
                    if end.cause == EndCause::KeyLimit {
                        self.send_disconnect(session, end.cause);
                    }
                    return RelayStep::Ended(end);
                }
            }
        }
        step
    }

    /// The end after `side` failed. A reset is passed on to the other side, unless the stream was
    /// complete before: then it only says that `side` read nothing more, and would discard what the
    /// other side has not read yet, such as the DISCONNECT that keeps a broker from publishing the
    /// will.
    fn failed(&mut self, session: &ActiveSession, side: EndBy, error: &io::Error) -> End {
        let end = End::failed(side, EndPhase::Relay, error);
        let record = &session.record;
        let (is_complete, other) = if side == EndBy::Client {
            (self.inbound.ended || record.client_disconnect.get().is_some(), &session.upstream)
        } else {
            let is_told = record.broker_disconnect.get().is_some() || !record.is_accepted();
            (self.outbound.ended || is_told, &session.client)
        };
        if end.cause == EndCause::Reset && !is_complete {
            self.passes_reset = true;
            other.reset_on_close();
        }
        end
    }

    /// The sides that a close could keep from reading what they were sent last; neither if a reset
    /// is passed on.
    pub(super) fn unfinished_sides(&self) -> UnfinishedSides {
        let is_unfinished = |flow: &Flow| !flow.ended && !self.passes_reset;
        UnfinishedSides {
            client: is_unfinished(&self.inbound),
            upstream: is_unfinished(&self.outbound),
        }
    }

    /// Ends the session by the proxy.
    fn end(&self, session: &ActiveSession, cause: EndCause) -> RelayStep {
        self.send_disconnect(session, cause);
        RelayStep::Ended(End::new(EndBy::Proxy, EndPhase::Relay, cause))
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

    /// The bytes that were read and that their receivers have not taken yet.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.inbound.unsent_bytes() + self.outbound.unsent_bytes()
    }

    /// Data that was read and not sent does not count as relayed.
    pub(super) fn subtract_unsent(&self, session: &ActiveSession) {
        let ActiveSession { counters, .. } = session;
        counters
            .bytes_in
            .set(counters.bytes_in.get().saturating_sub(self.inbound.unsent_bytes() as u64));
        counters
            .bytes_out
            .set(counters.bytes_out.get().saturating_sub(self.outbound.unsent_bytes() as u64));
    }
}
