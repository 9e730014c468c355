//! The facts about a client that templates are made of.

use std::net::IpAddr;

/// What is known about a client when it is routed. A fact that is absent or empty has no value.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientFields<'a> {
    /// The CONNECT's client identifier (MQTT 3.1.3.1); may be empty.
    pub client_id: &'a str,
    /// The CONNECT's username (MQTT 3.1.3.5).
    pub username: Option<&'a str>,
    /// `None` on a unix socket.
    pub source_ip: Option<IpAddr>,
    /// The name of the listener.
    pub listener: Option<&'a str>,
    /// The protocol level: 3, 4 or 5.
    pub protocol_version: Option<u8>,
    /// The server name that the client asked for (RFC 6066, section 3).
    pub sni: Option<&'a str>,
    /// The common name of the client's certificate (RFC 5280, section 4.1.2.6).
    pub tls_cn: Option<&'a str>,
    /// The certificate's subject alternative names (RFC 5280, section 4.2.1.6), by kind.
    pub tls_san_dns: &'a [Box<str>],
    pub tls_san_uri: &'a [Box<str>],
    pub tls_san_email: &'a [Box<str>],
    /// The certificate's serial number, in hexadecimal.
    pub tls_serial: Option<&'a str>,
    /// The SHA-256 hash of the certificate, in hexadecimal.
    pub tls_fingerprint: Option<&'a str>,
    /// The client's TLS is passed through to its broker: what its CONNECT says is unknown.
    pub tls_passthrough: bool,
    /// The claims of the client's token that the configuration names.
    pub claims: &'a [Claim],
}

/// A claim of a token (RFC 7519, section 4).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claim {
    pub name: Box<str>,
    pub value: Box<str>,
}
