//! One access log entry: what is known of a connection when it opens, ends or is refused.

use std::{
    fmt::{Display, Formatter},
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use super::value::Value;
use crate::{
    labels::{EndBy, EndCause, EndPhase, Event, RouteKind, Transport},
    proto::mqtt::Malformed,
    timestamp::Timestamp,
};

/// A flat, borrowed record; a field that is `None` is unknown and left out.
///
/// There is no field for a password, so none can be logged.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub time: SystemTime,
    pub event: Event,
    /// Written as 16 hexadecimal digits; the same in every line of one connection.
    pub session: u64,
    pub listener: &'a str,
    pub transport: Transport,
    /// The client's address; `None` on a unix socket.
    pub client: Option<SocketAddr>,
    /// The socket's peer, where something in front of it named another client.
    pub peer: Option<SocketAddr>,
    /// Such as `TLSv1.3`.
    pub tls_version: Option<&'a str>,
    /// Such as `TLS_AES_128_GCM_SHA256`.
    pub tls_cipher: Option<&'a str>,
    /// The host that the client asked for (RFC 6066, section 3).
    pub sni: Option<&'a str>,
    /// The common name of the client's certificate.
    pub tls_cn: Option<&'a str>,
    pub protocol_name: Option<&'a str>,
    /// Protocol level, without the bridge bit: 3, 4 or 5.
    pub protocol_version: Option<u8>,
    pub bridge: Option<bool>,
    pub client_id: Option<&'a str>,
    /// What a 5.0 broker named a client that came without an ID.
    pub assigned_client_id: Option<&'a str>,
    pub username: Option<&'a str>,
    pub has_password: Option<bool>,
    /// Clean Session in 3.x, Clean Start in 5.0.
    pub clean_start: Option<bool>,
    /// Seconds.
    pub keepalive: Option<u16>,
    pub will: Option<bool>,
    /// Seconds; 5.0 only.
    pub session_expiry: Option<u32>,
    pub pool: Option<&'a str>,
    pub upstream: Option<&'a str>,
    pub upstream_address: Option<DialledAddress<'a>>,
    pub route: Option<RouteKind>,
    /// Brokers dialled.
    pub tries: Option<u32>,
    /// Return code (3.x) or reason code (5.0) of the CONNACK that the client got.
    pub connack: Option<u8>,
    pub connack_reason: Option<&'a str>,
    /// What in the broker's CONNACK breaks the standard; it was passed on as it came.
    pub connack_malformed: Option<Malformed>,
    pub session_present: Option<bool>,
    /// From accept to the whole CONNECT.
    pub handshake_ms: Option<Duration>,
    /// In the queue for admission to the broker.
    pub queue_ms: Option<Duration>,
    /// The dial that succeeded.
    pub dial_ms: Option<Duration>,
    /// From CONNECT sent to CONNACK seen.
    pub connack_ms: Option<Duration>,
    /// From accept to the end.
    pub duration_ms: Option<Duration>,
    /// Bytes from the client.
    pub bytes_in: Option<u64>,
    /// Bytes to the client.
    pub bytes_out: Option<u64>,
    pub end_by: Option<EndBy>,
    pub end_phase: Option<EndPhase>,
    pub end_cause: Option<EndCause>,
    /// Why, in words: what is wrong with a CONNECT, or the system's error of a dial.
    pub detail: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// An entry of which only the mandatory fields are known.
    pub fn new(
        time: SystemTime,
        event: Event,
        session: u64,
        listener: &'a str,
        transport: Transport,
    ) -> Self {
        Self {
            time,
            event,
            session,
            listener,
            transport,
            client: None,
            peer: None,
            tls_version: None,
            tls_cipher: None,
            sni: None,
            tls_cn: None,
            protocol_name: None,
            protocol_version: None,
            bridge: None,
            client_id: None,
            assigned_client_id: None,
            username: None,
            has_password: None,
            clean_start: None,
            keepalive: None,
            will: None,
            session_expiry: None,
            pool: None,
            upstream: None,
            upstream_address: None,
            route: None,
            tries: None,
            connack: None,
            connack_reason: None,
            connack_malformed: None,
            session_present: None,
            handshake_ms: None,
            queue_ms: None,
            dial_ms: None,
            connack_ms: None,
            duration_ms: None,
            bytes_in: None,
            bytes_out: None,
            end_by: None,
            end_phase: None,
            end_cause: None,
            detail: None,
        }
    }
}

/// The names of the fields of an entry, in the order they are written.
pub fn field_names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.name)
}

/// A broker's address as it was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialledAddress<'a> {
    Ip(SocketAddr),
    Unix(&'a Path),
}

impl Display for DialledAddress<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One field: its name, and where its value comes from.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: ValueOf,
}

type ValueOf = for<'e> fn(&'e Entry<'e>, &'e Timestamp) -> Option<Value<'e>>;

/// Makes two things of one list: a table for templates, and straight code for JSON, where the kind
/// of each value and the length of each key are then known to the compiler.
macro_rules! fields {
    ($($name:literal, $value:expr;)+) => {
        pub(super) const FIELDS: &[Field] = &[$(Field { name: $name, value: $value },)+];

        /// Appends `,"name":value` for each field that is known.
        pub(super) fn write_members(entry: &Entry<'_>, stamp: &Timestamp, out: &mut Vec<u8>) {
            $({
                const VALUE: ValueOf = $value;
                if let Some(value) = VALUE(entry, stamp) {
                    out.extend_from_slice(concat!(",\"", $name, "\":").as_bytes());
                    value.write_json(out);
                }
            })+
        }
    };
}

// The one list of fields: the order of JSON and the variables of a template.
fields! {
    "time", |_, stamp| Some(Value::Name(stamp.rfc3339()));
    "event", |e, _| Some(Value::Name(e.event.as_str()));
    "session", |e, _| Some(Value::Id(e.session));
    "listener", |e, _| Some(Value::Text(e.listener));
    "transport", |e, _| Some(Value::Name(e.transport.as_str()));
    "client", |e, _| e.client.map(Value::Address);
    "peer", |e, _| e.peer.map(Value::Address);
    "tls_version", |e, _| e.tls_version.map(Value::Text);
    "tls_cipher", |e, _| e.tls_cipher.map(Value::Text);
    "sni", |e, _| e.sni.map(Value::Text);
    "tls_cn", |e, _| e.tls_cn.map(Value::Text);
    "protocol_name", |e, _| e.protocol_name.map(Value::Name);
    "protocol_version", |e, _| e.protocol_version.map(number);
    "bridge", |e, _| e.bridge.map(Value::Flag);
    "client_id", |e, _| e.client_id.map(Value::Text);
    "assigned_client_id", |e, _| e.assigned_client_id.map(Value::Text);
    "username", |e, _| e.username.map(Value::Text);
    "has_password", |e, _| e.has_password.map(Value::Flag);
    "clean_start", |e, _| e.clean_start.map(Value::Flag);
    "keepalive", |e, _| e.keepalive.map(number);
    "will", |e, _| e.will.map(Value::Flag);
    "session_expiry", |e, _| e.session_expiry.map(number);
    "pool", |e, _| e.pool.map(Value::Text);
    "upstream", |e, _| e.upstream.map(Value::Text);
    "upstream_address", |e, _| e.upstream_address.map(Value::Dialled);
    "route", |e, _| e.route.map(|r| Value::Name(r.as_str()));
    "tries", |e, _| e.tries.map(number);
    "connack", |e, _| e.connack.map(number);
    "connack_reason", |e, _| e.connack_reason.map(Value::Name);
    "connack_malformed", |e, _| e.connack_malformed.as_ref().map(Value::Malformed);
    "session_present", |e, _| e.session_present.map(Value::Flag);
    "handshake_ms", |e, _| e.handshake_ms.map(Value::Millis);
    "queue_ms", |e, _| e.queue_ms.map(Value::Millis);
    "dial_ms", |e, _| e.dial_ms.map(Value::Millis);
    "connack_ms", |e, _| e.connack_ms.map(Value::Millis);
    "duration_ms", |e, _| e.duration_ms.map(Value::Millis);
    "bytes_in", |e, _| e.bytes_in.map(number);
    "bytes_out", |e, _| e.bytes_out.map(number);
    "end_by", |e, _| e.end_by.map(|by| Value::Name(by.as_str()));
    "end_phase", |e, _| e.end_phase.map(|p| Value::Name(p.as_str()));
    "end_cause", |e, _| e.end_cause.map(|c| Value::Name(c.as_str()));
    "detail", |e, _| e.detail.map(Value::Text);
}

fn number<'e>(number: impl Into<u64>) -> Value<'e> {
    Value::Number(number.into())
}
