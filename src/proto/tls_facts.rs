//! Facts about a client's TLS connection, which ends at this proxy or at a load balancer in front.

use std::borrow::Cow;

/// Facts about one TLS connection; `None` means unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// OpenSSL's name of the version: `TLSv1.3`.
    pub version: Option<Cow<'static, str>>,
    /// The standard name of the cipher suite: `TLS_AES_128_GCM_SHA256`.
    pub cipher: Option<Cow<'static, str>>,
    /// The server name that the client asked for (RFC 6066, section 3).
    pub sni: Option<Box<str>>,
    /// Whether the client presented a certificate that was verified.
    pub has_certificate: bool,
    /// The common name of that certificate.
    pub common_name: Option<Box<str>>,
    /// The negotiated protocol (RFC 7301).
    pub alpn: Option<Box<[u8]>>,
}

impl TlsFacts {
    /// The same facts, with another name in place of the common name.
    pub(crate) fn with_common_name(&self, name: Option<&str>) -> Self {
        Self { common_name: name.map(Box::from), ..self.clone() }
    }
}
