//! Facts about a client's certificate.

use serde::{Deserialize, Serialize};

/// Facts about the verified certificate of a client; `None` or empty means unknown. A PROXY header
/// names the common name alone.
///
/// No value has a control character: the values go into PROXY headers, whose receivers refuse them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateFacts {
    /// The first common name of the subject (RFC 5280, section 4.1.2.6).
    pub common_name: Option<Box<str>>,
    /// The subject alternative names (RFC 5280, section 4.2.1.6) by kind, in their order. No value
    /// has a space.
    pub san_dns: Box<[Box<str>]>,
    pub san_uri: Box<[Box<str>]>,
    pub san_email: Box<[Box<str>]>,
    /// The serial number as OpenSSL writes it, in lower case: two hexadecimal digits a byte.
    pub serial: Option<Box<str>>,
    /// The SHA-256 hash of the DER encoding: 64 hexadecimal digits in lower case.
    pub fingerprint: Option<Box<str>>,
}

impl CertificateFacts {
    /// The subject alternative names, each with OpenSSL's prefix of its kind: `DNS:a.example`.
    pub fn alternative_names(&self) -> impl Iterator<Item = String> {
        [("DNS", &self.san_dns), ("URI", &self.san_uri), ("email", &self.san_email)]
            .into_iter()
            .flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind}:{name}")))
    }

    /// Whether there is a subject alternative name.
    pub fn has_alternative_names(&self) -> bool {
        [&self.san_dns, &self.san_uri, &self.san_email].iter().any(|names| !names.is_empty())
    }

    /// The bytes of all values.
    pub(crate) fn text_bytes(&self) -> usize {
        let names = [&self.san_dns, &self.san_uri, &self.san_email].into_iter().flatten();
        let others = [&self.common_name, &self.serial, &self.fingerprint].into_iter().flatten();
        names.chain(others).map(|text| text.len()).sum()
    }
}
