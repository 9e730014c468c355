//! Bytes from each side to the other, for as long as the session lasts.
//!
//! An idle session is this future and its [`ActiveSession`] record: no buffer, no timer.

mod flow;

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    thread::panicking,
};

use self::flow::{Chunk, Fault, Flow, Moved};
use super::{
    active::ActiveSession, context::WorkerContext, end::End, evict::takeover, panics::asked_panic,
};
use crate::{
    labels::{EndBy, EndCause, EndPhase, Event},
    net::{Stream, TurnTicket},
    proto::mqtt::{Boundary, DisconnectReason, Version},
};

/// A session after its CONNACK.
pub(in crate::session) struct Relay {
    /// Gone with the session's end.
    live: Option<Rc<ActiveSession>>,
    slot: u32,
    /// Its place among those who wait to be admitted to a turn.
    ticket: TurnTicket,
    flows: Flows,
}

/// Both directions.
struct Flows {
    /// Whether both sockets wake this task.
    watching: bool,
    inbound: Flow,
    outbound: Flow,
    /// Where in its packets the broker is, for a client of 5.0, who can be told goodbye.
    boundary: Option<Boundary>,
    /// Who ended its side first.
    first_to_end: Option<EndBy>,
}

impl Relay {
    /// `owed`: what the broker has sent and the client has not been given yet.
    pub(in crate::session) fn new(live: ActiveSession, owed: &[u8], boundary: Boundary) -> Self {
        let is_v5 = live.record.client.as_ref().is_some_and(|client| client.version == Version::V5);
        let context = live.record.context.clone();
        let (slot, live) = context.sessions.insert(live);
        takeover::claim(&context, &live, slot);
        let mut outbound = Flow::default();
        outbound.owe(owed);
        let flows = Flows {
            watching: false,
            inbound: Flow::default(),
            outbound,
            boundary: is_v5.then_some(boundary),
            first_to_end: None,
        };
        Self { live: Some(live), slot, ticket: TurnTicket::default(), flows }
    }
}

impl Future for Relay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(live) = &this.live else { return Poll::Ready(()) };
        if !this.flows.watching {
            asked_panic(&live.record, "relay");
        }
        let context = &live.record.context;
        let bulk = &context.reactor.turn.bulk;
        let admitted = bulk.take_turn(&mut this.ticket);
        let step = this.flows.advance(cx, context, live, admitted);
        let Step::Ended(end) = step else {
            if matches!(step, Step::More) {
                bulk.join(&mut this.ticket, cx);
            }
            return Poll::Pending;
        };
        if let Some(live) = this.leave() {
            finish(live, end);
        }
        Poll::Ready(())
    }
}

impl Relay {
    /// Takes the session from where others find it.
    fn leave(&mut self) -> Option<ActiveSession> {
        let live = self.live.take()?;
        let context = live.record.context.clone();
        self.flows.take_back_unsent(&live);
        live.flush_bytes();
        takeover::release(&context, &live);
        context.sessions.remove(self.slot, live)
    }
}

/// With the end of the worker or in a panic, which ends this session and no other.
impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(live) = self.leave()
            && panicking()
        {
            finish_in_panic(live);
        }
    }
}

/// Closes both connections, and records the end.
fn finish(live: ActiveSession, end: End) {
    // The sockets and the places go now; the record may have to wait for the log.
    let ActiveSession { tally, record, accepted, client, upstream, lease, pass, .. } = live;
    client.send_close();
    upstream.send_close();
    drop((client, upstream, lease, pass));
    let end = if accepted {
        end
    } else {
        // It was the broker's CONNACK that ended this one, whoever closed first after it.
        End::new(EndBy::Upstream, EndPhase::Connack, EndCause::Refused)
    };
    let bytes = (tally.bytes_in.get(), tally.bytes_out.get());
    record.end(event(accepted), bytes, end);
}

/// Both peers learn that the stream did not end well; nothing is asked of layers that may have been
/// what panicked.
fn finish_in_panic(live: ActiveSession) {
    let ActiveSession { tally, mut record, accepted, client, upstream, .. } = live;
    client.reset_on_close();
    upstream.reset_on_close();
    let bytes = (tally.bytes_in.get(), tally.bytes_out.get());
    record.end_in_panic(event(accepted), bytes, EndPhase::Relay);
}

fn event(accepted: bool) -> Event {
    if accepted { Event::Disconnect } else { Event::Reject }
}

/// What one poll came to.
enum Step {
    Stalled,
    /// There may be more to do, in another turn.
    More,
    Ended(End),
}

impl Flows {
    /// Moves what there is; bulk streams only if the turn has `admitted` them.
    fn advance(
        &mut self,
        cx: &Context<'_>,
        context: &WorkerContext,
        live: &ActiveSession,
        admitted: bool,
    ) -> Step {
        if let Some(cause) = live.tally.verdict.get() {
            self.say_goodbye(live, cause);
            return Step::Ended(End::new(EndBy::Proxy, EndPhase::Relay, cause));
        }
        let (client, upstream) = (&live.client, &live.upstream);
        if !self.watching {
            self.watching = true;
            client.watch(cx);
            upstream.watch(cx);
        }
        let now = context.seconds();
        let inbound = self.inbound.pump(context, client, upstream, admitted, |chunk| {
            live.count_in(chunk.len(), now);
        });
        // After a failed write too: the broker's last words may say why it left.
        let boundary = &mut self.boundary;
        let outbound = self.outbound.pump(context, upstream, client, admitted, |chunk| {
            live.count_out(chunk.len(), now);
            match (&mut *boundary, &chunk) {
                (None, _) => {}
                (Some(boundary), Chunk::Bytes(bytes)) => boundary.feed(bytes),
                (Some(boundary), Chunk::Unseen(count)) => boundary.skip(*count),
            }
        });
        live.hold_back(self.inbound.held_back, self.outbound.held_back, now);
        let (client, upstream) = ((EndBy::Client, client), (EndBy::Upstream, upstream));
        let mut step = Step::Stalled;
        for (moved, from, to) in [(inbound, client, upstream), (outbound, upstream, client)] {
            match moved {
                Ok(Moved::Stalled) => {}
                Ok(Moved::More) => step = Step::More,
                Ok(Moved::Ended) => {
                    let first = *self.first_to_end.get_or_insert(from.0);
                    if self.inbound.ended && self.outbound.ended {
                        return Step::Ended(End::new(first, EndPhase::Relay, EndCause::Closed));
                    }
                    to.1.shutdown();
                    live.tally.half_closed.set(now);
                }
                Err(Fault::Read(error)) => return Step::Ended(failed(from.0, to.1, &error)),
                Err(Fault::Write(error)) => return Step::Ended(failed(to.0, from.1, &error)),
            }
        }
        step
    }

    /// Tells a client of 5.0 why its session ends, if that can be put between two packets.
    fn say_goodbye(&self, live: &ActiveSession, cause: EndCause) {
        let reason = match cause {
            EndCause::Idle => DisconnectReason::KeepAliveTimeout,
            EndCause::Drain => DisconnectReason::ServerShuttingDown,
            EndCause::TakenOver => DisconnectReason::SessionTakenOver,
            EndCause::Kicked => DisconnectReason::AdministrativeAction,
            EndCause::Down | EndCause::Removed | EndCause::Rebalance | EndCause::KeyLimit => {
                DisconnectReason::UseAnotherServer
            }
            _ => return,
        };
        let is_at_boundary = self.boundary.is_some_and(|boundary| boundary.is_at_boundary());
        if is_at_boundary && self.outbound.left() == 0 {
            let packet = reason.packet();
            if let Poll::Ready(Ok(sent)) = live.client.try_send(&packet) {
                live.tally.bytes_out.set(live.tally.bytes_out.get() + sent as u64);
            }
        }
    }

    /// What was read and could not be passed on does not count as relayed.
    fn take_back_unsent(&self, live: &ActiveSession) {
        let ActiveSession { tally, .. } = live;
        tally.bytes_in.set(tally.bytes_in.get().saturating_sub(self.inbound.left() as u64));
        tally.bytes_out.set(tally.bytes_out.get().saturating_sub(self.outbound.left() as u64));
    }
}

/// `side` failed; a reset goes on to the other one.
fn failed(side: EndBy, other: &Stream, error: &io::Error) -> End {
    let end = End::failed(side, EndPhase::Relay, error);
    if end.cause == EndCause::Reset {
        other.reset_on_close();
    }
    end
}
