//! A connection that ends before its session began: its answer, its record, its close.

use std::{borrow::Cow, future::poll_fn, ops::Deref, pin::pin, rc::Rc, time::Duration};

use super::{answer::Answer, end::End, record::Record, shard::Shard};
use crate::{
    net::{BULK_BYTES, Socket, Stream, deadline},
    observe::{EndBy, EndCause, Event},
    proto::mqtt,
};

/// How long, and for how much, a client that was refused is listened to after the answer. Closing
/// with unread data resets the connection, and the reset can overtake the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Why there will be no session.
pub(super) struct Rejected {
    pub(super) end: End,
    /// The CONNACK, where the client's version defines one.
    pub(super) answer: Option<Reply>,
    /// Whether the client left before it had sent anything, as checks do.
    pub(super) is_probe: bool,
}

/// Whose CONNACK a client gets.
pub(super) enum Reply {
    Own(mqtt::Answer),
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
    pub(super) fn told(end: End) -> Self {
        let answer = (end.cause == EndCause::Malformed).then_some(Reply::Transports);
        Self { answer, ..end.into() }
    }

    /// The end of a connection that has brought nothing: where the client has left, it was a probe.
    pub(super) fn unheard(end: End) -> Self {
        let has_left = matches!(end.cause, EndCause::Closed | EndCause::Reset);
        Self { is_probe: end.by == EndBy::Client && has_left, ..end.into() }
    }

    pub(super) fn with(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { end: self.end.with(detail), ..self }
    }
}

impl From<End> for Rejected {
    fn from(end: End) -> Self {
        Self { end, answer: None, is_probe: false }
    }
}

/// Gives the client its CONNACK, records the end, and waits a moment for the client to take it.
pub(super) async fn reject(
    shard: &Rc<Shard>,
    client: Option<Stream>,
    mut record: Record,
    rejected: Rejected,
) {
    let Rejected { end, answer, is_probe } = rejected;
    let event = if is_probe { Event::Probe } else { Event::Reject };
    let until = shard.reactor.now() + LINGER;
    if let (Some(client), Some(answer)) = (&client, &answer) {
        if let Reply::Own(answer) = answer {
            record.answer = Some(Answer::of_proxy(*answer));
        }
        let _ = deadline(&shard.reactor, until, pin!(client.send_all(answer))).await;
        client.shutdown();
    } else if let Some(client) = &client {
        client.take_leave();
    }
    let (bytes_in, exchanged) = record.handshake_bytes();
    let bytes_out = exchanged + answer.as_ref().map_or(0, |answer| answer.len() as u64);
    record.end(event, (bytes_in, bytes_out), end);
    if let (Some(client), Some(_)) = (&client, answer) {
        let _ = deadline(&shard.reactor, until, pin!(swallow(shard, client.socket()))).await;
    }
}

/// Reads what still comes on the wire, whatever it would mean.
async fn swallow(shard: &Shard, client: &Socket) {
    let mut swallowed = 0;
    while swallowed < LINGER_BYTES {
        let read = poll_fn(|cx| {
            client.watch(cx);
            shard.scratch.lend().receive(BULK_BYTES, |room| client.try_recv(room))
        })
        .await;
        match read {
            Ok(n @ 1..) => swallowed += n,
            _ => return,
        }
    }
}
