//! Facts about a client's TLS connection, which ends at this proxy or at a load balancer in front.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::CertificateFacts;

/// Facts about one TLS connection; `None` means unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsFacts {
    /// OpenSSL's name of the version: `TLSv1.3`.
    pub version: Option<Cow<'static, str>>,
    /// The standard name of the cipher suite: `TLS_AES_128_GCM_SHA256`.
    pub cipher: Option<Cow<'static, str>>,
    /// The server name that the client asked for (RFC 6066, section 3).
    pub sni: Option<Box<str>>,
    /// What it asked for if that is not a host name. Only the log has it.
    pub ignored_sni: Option<Box<str>>,
    /// The client's certificate, if it presented one that was verified. Boxed, as most clients have
    /// none and idle sessions keep this.
    pub certificate: Option<Box<CertificateFacts>>,
    /// The negotiated protocol (RFC 7301).
    pub alpn: Option<Box<[u8]>>,
}

impl TlsFacts {
    /// The same facts, with another name in place of the certificate's common name; without one, if
    /// the name has a control character.
    pub(crate) fn with_common_name(&self, name: Option<&str>) -> Self {
        let mut facts = self.clone();
        if let Some(certificate) = &mut facts.certificate {
            let sendable = name.filter(|name| !name.contains(char::is_control));
            certificate.common_name = sendable.map(Box::from);
        }
        facts
    }

    /// The common name of the client's certificate.
    pub fn common_name(&self) -> Option<&str> {
        self.certificate.as_ref()?.common_name.as_deref()
    }
}
