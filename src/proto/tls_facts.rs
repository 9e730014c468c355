//! What TLS said of a client, here or at what is in front of this proxy.

use std::borrow::Cow;

/// Facts of one TLS connection; what is `None` was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// As OpenSSL writes it: `TLSv1.3`.
    pub version: Option<Cow<'static, str>>,
    /// As the standards name the suite: `TLS_AES_128_GCM_SHA256`.
    pub cipher: Option<Cow<'static, str>>,
    /// The host that the client asked for (RFC 6066, section 3).
    pub sni: Option<Box<str>>,
    /// Whether the client showed a certificate, which was verified.
    pub has_certificate: bool,
    /// The common name of that certificate.
    pub common_name: Option<Box<str>>,
    /// The protocol that both agreed on (RFC 7301).
    pub alpn: Option<Box<[u8]>>,
}
