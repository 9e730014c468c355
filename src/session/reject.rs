//! A connection that ends before its session has begun: its reply, its record, its close.

use std::{borrow::Cow, ops::Deref, pin::pin, rc::Rc};

use super::{
    context::WorkerContext,
    end::End,
    linger::{LINGER_TIMEOUT, discard_input},
    record::{ConnackSent, Record},
};
use crate::{
    labels::{EndBy, EndCause, EndPhase, Event},
    limits::{AddressRefusal, BanInForce, FarOverLimit, wall_time},
    net::{Stream, deadline},
    proto::mqtt,
    timestamp::rfc3339,
};

/// The most bytes that are read from a refused client after the reply.
const MAX_LINGER_BYTES: usize = 256 * 1024;

/// Why a session does not begin.
pub(crate) struct Rejection {
    pub(crate) end: End,
    /// The reply to the client, if its protocol version has one.
    pub(crate) reply: Option<RejectReply>,
    /// Whether the client failed to prove who it is.
    pub(crate) has_bad_credentials: bool,
    /// Whether it is one of possibly many of its address, which are not all logged.
    pub(crate) is_flood: bool,
    /// Whether the client left before it sent anything, as health checks do.
    pub(crate) is_probe: bool,
}

/// The reply to a rejected client.
pub(crate) enum RejectReply {
    /// The proxy's own CONNACK.
    Proxy(mqtt::ConnackPacket),
    /// The proxy's own CONNACK, and the packet that names another server as well. Boxed, as it would
    /// otherwise enlarge every handshake.
    Redirect(Box<(mqtt::ConnackPacket, Vec<u8>)>),
    /// The broker's CONNACK, already in the record.
    Broker(Vec<u8>),
    /// No CONNACK: the client's transport has replied with a TLS alert or an HTTP status.
    Transport,
}

impl Deref for RejectReply {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Proxy(packet) => packet,
            Self::Redirect(redirect) => &redirect.1,
            Self::Broker(bytes) => bytes,
            Self::Transport => &[],
        }
    }
}

impl Rejection {
    /// The rejection after a failed read. If the client's bytes were malformed, its transport has
    /// already replied.
    pub(crate) fn after_read(end: End) -> Self {
        let reply = (end.cause == EndCause::Malformed).then_some(RejectReply::Transport);
        Self { reply, ..end.into() }
    }

    /// The rejection of a client that has sent nothing: if the client itself left, it was a probe.
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
        Self { end, reply: None, has_bad_credentials: false, is_flood: false, is_probe: false }
    }
}

impl From<FarOverLimit> for Rejection {
    fn from(FarOverLimit(limit): FarOverLimit) -> Self {
        let end = End::new(EndBy::Proxy, EndPhase::Handshake, EndCause::Limit);
        end.with(limit.far_exceeded()).into()
    }
}

impl From<AddressRefusal> for Rejection {
    fn from(refusal: AddressRefusal) -> Self {
        let end = End::new(EndBy::Proxy, EndPhase::Handshake, refusal.cause());
        let end = end.with(match &refusal {
            AddressRefusal::Banned(ban) => describe_ban(ban).into(),
            AddressRefusal::Handshakes(_) => Cow::from("faster than handshakes_per_ip"),
            AddressRefusal::BadCredentials => {
                "more failed logins than bad_credentials_per_ip".into()
            }
        });
        Self { is_flood: true, ..end.into() }
    }
}

/// Why a banned client is refused.
pub(crate) fn describe_ban(ban: &BanInForce) -> String {
    let (kind, reason) = (ban.kind.as_str(), ban.reason.as_str());
    format!("{kind} banned until {} by {reason}", rfc3339(wall_time(ban.until)))
}

/// Sends the reply, records the end, and then reads for a moment so that the client receives the
/// reply.
pub(crate) async fn reject(
    context: &Rc<WorkerContext>,
    client: Option<Stream>,
    mut record: Record,
    rejection: Rejection,
) {
    let Rejection { end, reply, is_probe, is_flood, .. } = rejection;
    let event = if is_probe { Event::Probe } else { Event::Reject };
    let until = context.reactor.now() + LINGER_TIMEOUT;
    if let (Some(client), Some(reply)) = (&client, &reply) {
        let own = match reply {
            RejectReply::Proxy(connack) => Some(*connack),
            RejectReply::Redirect(redirect) => Some(redirect.0),
            RejectReply::Broker(_) | RejectReply::Transport => None,
        };
        if let Some(connack) = own {
            record.connack = Some(ConnackSent::of_proxy(connack));
        }
        let _ = deadline(&context.reactor, until, pin!(client.send_all(reply))).await;
        client.shutdown();
    } else if let Some(client) = &client {
        client.send_close();
    }
    let (bytes_in, exchanged) = record.handshake_bytes();
    let bytes_out = exchanged + reply.as_ref().map_or(0, |reply| reply.len() as u64);
    match is_flood.then(|| context.flood_log.admit(context.seconds())) {
        None => record.end(event, (bytes_in, bytes_out), end),
        Some(Some(unlogged)) => {
            record.end(event, (bytes_in, bytes_out), end.after_unlogged(unlogged));
        }
        Some(None) => record.end_unlogged(&end),
    }
    if let (Some(client), Some(_)) = (&client, reply) {
        let discarding = pin!(discard_input(context, client, MAX_LINGER_BYTES));
        let _ = deadline(&context.reactor, until, discarding).await;
    }
}
