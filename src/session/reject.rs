//! A connection that ends before its session began: its reply, its record, its close.

use std::{borrow::Cow, future::poll_fn, ops::Deref, pin::pin, rc::Rc, time::Duration};

use super::{
    context::WorkerContext,
    end::End,
    record::{ConnackSent, Record},
};
use crate::{
    labels::{EndBy, EndCause, EndPhase, Event},
    limits::FarOverLimit,
    net::{BULK_BYTES, Socket, Stream, deadline},
    proto::mqtt,
};

/// How long, and how many bytes, a refused client is read after the reply. Closing with unread data
/// resets the connection, and the reset can overtake the reply.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_LINGER_BYTES: usize = 256 * 1024;

/// Why a session does not begin.
pub(crate) struct Rejection {
    pub(crate) end: End,
    /// What the client is told, where its protocol version has a reply.
    pub(crate) reply: Option<RejectReply>,
    /// Whether the client left before it had sent anything, as health checks do.
    pub(crate) is_probe: bool,
}

/// What a rejected client is told.
pub(crate) enum RejectReply {
    /// The proxy's own CONNACK.
    Proxy(mqtt::ConnackPacket),
    /// The broker's CONNACK, already in the record.
    Broker(Vec<u8>),
    /// No CONNACK: the client's transport has replied, with a TLS alert or an HTTP status.
    Transport,
}

impl Deref for RejectReply {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Proxy(packet) => packet,
            Self::Broker(bytes) => bytes,
            Self::Transport => &[],
        }
    }
}

impl Rejection {
    /// After a failed read. If the client's bytes were malformed, its transport has told it.
    pub(crate) fn after_read(end: End) -> Self {
        let reply = (end.cause == EndCause::Malformed).then_some(RejectReply::Transport);
        Self { reply, ..end.into() }
    }

    /// For a client that has sent nothing: if it was the one that left, it was a probe.
    pub(crate) fn before_first_byte(end: End) -> Self {
        let has_left = matches!(end.cause, EndCause::Closed | EndCause::Reset);
        Self { is_probe: end.by == EndBy::Client && has_left, ..end.into() }
    }

    pub(crate) fn with(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { end: self.end.with(detail), ..self }
    }
}

impl From<End> for Rejection {
    fn from(end: End) -> Self {
        Self { end, reply: None, is_probe: false }
    }
}

impl From<FarOverLimit> for Rejection {
    fn from(FarOverLimit(limit): FarOverLimit) -> Self {
        let end = End::new(EndBy::Proxy, EndPhase::Handshake, EndCause::Limit);
        end.with(limit.far_exceeded()).into()
    }
}

/// Sends the reply, records the end, and reads for a moment so that the client can take the reply.
pub(crate) async fn reject(
    context: &Rc<WorkerContext>,
    client: Option<Stream>,
    mut record: Record,
    rejection: Rejection,
) {
    let Rejection { end, reply, is_probe } = rejection;
    let event = if is_probe { Event::Probe } else { Event::Reject };
    let until = context.reactor.now() + LINGER_TIMEOUT;
    if let (Some(client), Some(reply)) = (&client, &reply) {
        if let RejectReply::Proxy(packet) = reply {
            record.connack = Some(ConnackSent::of_proxy(*packet));
        }
        let _ = deadline(&context.reactor, until, pin!(client.send_all(reply))).await;
        client.shutdown();
    } else if let Some(client) = &client {
        client.send_close();
    }
    let (bytes_in, exchanged) = record.handshake_bytes();
    let bytes_out = exchanged + reply.as_ref().map_or(0, |reply| reply.len() as u64);
    record.end(event, (bytes_in, bytes_out), end);
    if let (Some(client), Some(_)) = (&client, reply) {
        let discarding = pin!(discard_input(context, client.socket()));
        let _ = deadline(&context.reactor, until, discarding).await;
    }
}

/// Reads and discards what still arrives on the wire, below TLS and WebSocket.
async fn discard_input(context: &WorkerContext, client: &Socket) {
    let mut discarded = 0;
    while discarded < MAX_LINGER_BYTES {
        let read = poll_fn(|cx| {
            client.watch(cx);
            context.scratch.lend().receive(BULK_BYTES, |room| client.try_recv(room))
        })
        .await;
        match read {
            Ok(n @ 1..) => discarded += n,
            _ => return,
        }
    }
}
