//! A connection that ends before its session began: its answer, its record, its close.

use std::{borrow::Cow, future::poll_fn, ops::Deref, pin::pin, rc::Rc, time::Duration};

use crate::{
    labels::{EndBy, EndCause, Event},
    net::{BULK_BYTES, Socket, Stream, deadline},
    proto::mqtt,
    session::{
        context::WorkerContext,
        end::End,
        record::{ConnackSent, Record},
    },
};

/// How long, and for how much, a client that was refused is listened to after the answer. Closing
/// with unread data resets the connection, and the reset can overtake the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Why there will be no session.
pub(in crate::session) struct Rejected {
    pub(in crate::session) end: End,
    /// The CONNACK, where the client's version defines one.
    pub(in crate::session) answer: Option<Reply>,
    /// Whether the client left before it had sent anything, as checks do.
    pub(in crate::session) is_probe: bool,
}

/// Whose CONNACK a client gets.
pub(in crate::session) enum Reply {
    Own(mqtt::ConnackPacket),
    /// As the broker sent it; its record has been made.
    Brokers(Vec<u8>),
    /// No CONNACK, but what the client's transport has said to it already: an alert of TLS, a
    /// status of HTTP.
    Transports,
}

impl Deref for Reply {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(answer) => answer,
            Self::Brokers(bytes) => bytes,
            Self::Transports => &[],
        }
    }
}

impl Rejected {
    /// After a read that failed. Where that was the client's fault, its transport has told it.
    pub(in crate::session) fn told(end: End) -> Self {
        let answer = (end.cause == EndCause::Malformed).then_some(Reply::Transports);
        Self { answer, ..end.into() }
    }

    /// The end of a connection that has brought nothing: where the client has left, it was a probe.
    pub(in crate::session) fn unheard(end: End) -> Self {
        let has_left = matches!(end.cause, EndCause::Closed | EndCause::Reset);
        Self { is_probe: end.by == EndBy::Client && has_left, ..end.into() }
    }

    pub(in crate::session) fn with(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { end: self.end.with(detail), ..self }
    }
}

impl From<End> for Rejected {
    fn from(end: End) -> Self {
        Self { end, answer: None, is_probe: false }
    }
}

/// Gives the client its CONNACK, records the end, and waits a moment for the client to take it.
pub(in crate::session) async fn reject(
    context: &Rc<WorkerContext>,
    client: Option<Stream>,
    mut record: Record,
    rejected: Rejected,
) {
    let Rejected { end, answer, is_probe } = rejected;
    let event = if is_probe { Event::Probe } else { Event::Reject };
    let until = context.reactor.now() + LINGER;
    if let (Some(client), Some(answer)) = (&client, &answer) {
        if let Reply::Own(answer) = answer {
            record.answer = Some(ConnackSent::of_proxy(*answer));
        }
        let _ = deadline(&context.reactor, until, pin!(client.send_all(answer))).await;
        client.shutdown();
    } else if let Some(client) = &client {
        client.send_close();
    }
    let (bytes_in, exchanged) = record.handshake_bytes();
    let bytes_out = exchanged + answer.as_ref().map_or(0, |answer| answer.len() as u64);
    record.end(event, (bytes_in, bytes_out), end);
    if let (Some(client), Some(_)) = (&client, answer) {
        let _ = deadline(&context.reactor, until, pin!(swallow(context, client.socket()))).await;
    }
}

/// Reads what still comes on the wire, whatever it would mean.
async fn swallow(context: &WorkerContext, client: &Socket) {
    let mut swallowed = 0;
    while swallowed < LINGER_BYTES {
        let read = poll_fn(|cx| {
            client.watch(cx);
            context.scratch.lend().receive(BULK_BYTES, |room| client.try_recv(room))
        })
        .await;
        match read {
            Ok(n @ 1..) => swallowed += n,
            _ => return,
        }
    }
}
