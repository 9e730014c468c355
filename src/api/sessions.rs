use std::{net::SocketAddr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{TRANSPORTS, Word};

/// A page of sessions.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Sessions {
    #[schemars(length(max = 1000))]
    pub(crate) sessions: Vec<Session>,
    /// The `cursor` of the next page; absent on the last. A page that took long to collect has
    /// fewer sessions than `limit`, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// An established session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Session {
    /// 16 hexadecimal digits, as in the access log.
    #[schemars(regex(pattern = r"^[0-9a-f]{16}$"))]
    pub(crate) id: String,
    /// As the client sent it; absent if its TLS is passed through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<Box<str>>,
    /// The client ID that its broker was sent, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_client_id: Option<Box<str>>,
    /// The client ID that was assigned to a client that sent none: by the proxy, or by an MQTT 5.0
    /// broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) assigned_client_id: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<Box<str>>,
    pub(crate) listener: Arc<str>,
    #[schemars(extend("enum" = TRANSPORTS))]
    pub(crate) transport: Word,
    /// Address and port; absent on a unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) client: Option<SocketAddr>,
    /// The server name that the client asked for in TLS (SNI).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sni: Option<Box<str>>,
    /// The common name of the client's certificate, or the one that a PROXY header names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cn: Option<Box<str>>,
    /// The certificate's subject alternative names of the kinds `DNS`, `URI` and `email`, each with
    /// its kind: `DNS:a.example`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tls_san: Vec<String>,
    /// The certificate's serial number, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_serial: Option<Box<str>>,
    /// The SHA-256 hash of the certificate, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_fingerprint: Option<Box<str>>,
    /// The protocol level: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0; absent if TLS is passed through.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [3, 4, 5]))]
    pub(crate) protocol_version: Option<u8>,
    pub(crate) pool: Arc<str>,
    pub(crate) upstream: Arc<str>,
    /// When its connection was accepted.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) connected_at: String,
    /// Seconds since then.
    #[schemars(range(min = 0))]
    pub(crate) duration_s: f64,
    /// The keep-alive of the CONNECT, in seconds; 0 turns it off. Absent if TLS is passed through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keepalive: Option<u16>,
    /// Clean start (5.0) or clean session (3.1, 3.1.1); absent if TLS is passed through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clean_start: Option<bool>,
    /// Bytes from the client.
    pub(crate) bytes_in: u64,
    /// Bytes to the client.
    pub(crate) bytes_out: u64,
}
