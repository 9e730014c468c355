//! One access log entry: the facts known about a connection when it opens, ends or is refused.

use std::{
    borrow::Cow,
    fmt::{Display, Formatter},
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{
    labels::{BanKind, BanReason, EndBy, EndCause, EndPhase, Event, RouteKind, Transport},
    proto::{CertificateFacts, proxy_header::KeptTlvs},
};

/// A flat, borrowed record. A field that is `None` is unknown and omitted.
///
/// There is no field for a password, so none can be logged.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub time: SystemTime,
    pub event: Event,
    /// Written as 16 hexadecimal digits; the same in every line of one connection.
    /// `None` if the event is not about a connection, as `listener` and `transport`.
    pub session: Option<u64>,
    pub listener: Option<&'a str>,
    pub transport: Option<Transport>,
    /// The client's address; `None` on a unix socket.
    pub client: Option<SocketAddr>,
    /// The socket's peer, if a proxy in front named another address as the client's.
    pub peer: Option<SocketAddr>,
    /// TLVs of the PROXY header that named the client.
    pub(crate) proxy_tlvs: Option<&'a KeptTlvs>,
    /// Such as `TLSv1.3`.
    pub tls_version: Option<&'a str>,
    /// Such as `TLS_AES_128_GCM_SHA256`.
    pub tls_cipher: Option<&'a str>,
    /// The server name that the client requested (RFC 6066, section 3).
    pub sni: Option<&'a str>,
    /// The common name of the client's certificate.
    pub tls_cn: Option<&'a str>,
    /// The certificate whose subject alternative names are written, if it has any.
    pub tls_san: Option<&'a CertificateFacts>,
    /// The serial number of the client's certificate, in hexadecimal.
    pub tls_serial: Option<&'a str>,
    /// The SHA-256 hash of the client's certificate, in hexadecimal.
    pub tls_fingerprint: Option<&'a str>,
    /// The path of the client's WebSocket request, without the query.
    pub path: Option<&'a str>,
    pub protocol_name: Option<&'a str>,
    /// Protocol level, without the bridge bit: 3, 4 or 5.
    pub protocol_version: Option<u8>,
    pub bridge: Option<bool>,
    pub client_id: Option<&'a str>,
    /// The ID that the broker was sent, if it is another one.
    pub broker_client_id: Option<&'a str>,
    /// The ID that was assigned to a client without one: by the proxy, or in a 5.0 CONNACK.
    pub assigned_client_id: Option<&'a str>,
    pub username: Option<&'a str>,
    /// The claim `sub` of the client's token.
    pub jwt_sub: Option<&'a str>,
    pub has_password: Option<bool>,
    /// Clean Session in 3.x, Clean Start in 5.0.
    pub clean_start: Option<bool>,
    /// Seconds.
    pub keepalive: Option<u16>,
    pub will: Option<bool>,
    /// Seconds; 5.0 only.
    pub session_expiry: Option<u32>,
    /// What is malformed in the CONNECT, which was accepted all the same.
    pub connect_malformed: Option<&'a str>,
    pub pool: Option<&'a str>,
    /// The rule of the listener that has decided about the client.
    pub rule: Option<&'a str>,
    pub upstream: Option<&'a str>,
    pub upstream_address: Option<DialledAddress<'a>>,
    pub route: Option<RouteKind>,
    /// Brokers dialled.
    pub tries: Option<u32>,
    /// Return code (3.x) or reason code (5.0) of the CONNACK sent to the client.
    pub connack: Option<u8>,
    pub connack_reason: Option<&'a str>,
    /// What is malformed in the broker's CONNACK, which was passed on unchanged.
    pub connack_malformed: Option<&'a str>,
    pub session_present: Option<bool>,
    /// From accept to the whole CONNECT.
    pub handshake_ms: Option<Duration>,
    /// Time in the broker's admission queue.
    pub queue_ms: Option<Duration>,
    /// The dial that succeeded.
    pub dial_ms: Option<Duration>,
    /// From sending the CONNECT to receiving the CONNACK.
    pub connack_ms: Option<Duration>,
    /// From accept to the end.
    pub duration_ms: Option<Duration>,
    /// Bytes from the client.
    pub bytes_in: Option<u64>,
    /// Bytes to the client.
    pub bytes_out: Option<u64>,
    /// Reason code of the DISCONNECT that the client sent; 0 in 3.x, which has no code.
    pub client_disconnect: Option<u8>,
    /// Reason code of the DISCONNECT that the broker sent; 5.0 only.
    pub broker_disconnect: Option<u8>,
    /// Of the event [`Event::Ban`] only.
    pub ban: Option<BanFields<'a>>,
    pub end_by: Option<EndBy>,
    pub end_phase: Option<EndPhase>,
    pub end_cause: Option<EndCause>,
    /// The reason as text, such as what is malformed in a CONNECT, or the system error of a dial.
    pub detail: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// An entry with only the mandatory fields.
    pub fn new(
        time: SystemTime,
        event: Event,
        session: u64,
        listener: &'a str,
        transport: Transport,
    ) -> Self {
        Self {
            session: Some(session),
            listener: Some(listener),
            transport: Some(transport),
            ..Self::of_proxy(time, event)
        }
    }

    /// An entry about an event without a connection.
    pub fn of_proxy(time: SystemTime, event: Event) -> Self {
        Self {
            time,
            event,
            session: None,
            listener: None,
            transport: None,
            client: None,
            peer: None,
            proxy_tlvs: None,
            tls_version: None,
            tls_cipher: None,
            sni: None,
            tls_cn: None,
            tls_san: None,
            tls_serial: None,
            tls_fingerprint: None,
            path: None,
            protocol_name: None,
            protocol_version: None,
            bridge: None,
            client_id: None,
            broker_client_id: None,
            assigned_client_id: None,
            username: None,
            jwt_sub: None,
            has_password: None,
            clean_start: None,
            keepalive: None,
            will: None,
            session_expiry: None,
            connect_malformed: None,
            pool: None,
            rule: None,
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
            client_disconnect: None,
            broker_disconnect: None,
            ban: None,
            end_by: None,
            end_phase: None,
            end_cause: None,
            detail: None,
        }
    }
}

/// What was banned, and why.
#[derive(Clone, Debug)]
pub struct BanFields<'a> {
    pub kind: BanKind,
    /// The address, the network with its prefix length, the client ID or the username.
    pub value: Cow<'a, str>,
    /// RFC 3339.
    pub until: &'a str,
    pub reason: BanReason,
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
