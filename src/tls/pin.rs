//! Fingerprints that a broker's certificate is compared with.

use std::{error, fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::parse_x509_certificate;

const PREFIX: &str = "sha256/";

/// The SHA-256 of a certificate in DER, or of its public key: of the SubjectPublicKeyInfo, as in
/// RFC 7469, section 2.4, and in curl's `--pinnedpubkey`. Written as `sha256/` and Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin([u8; SHA256_OUTPUT_LEN]);

impl Pin {
    /// Of a certificate, or of a SubjectPublicKeyInfo.
    pub(crate) fn of(der: &[u8]) -> Self {
        let mut pin = [0; SHA256_OUTPUT_LEN];
        pin.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(pin)
    }
}

/// What a text lacks to be a pin.
#[derive(Debug)]
pub(crate) struct InvalidPin;

impl FromStr for Pin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidPin)?;
        let decoded = STANDARD.decode(encoded).map_err(|_| InvalidPin)?;
        decoded.try_into().map(Self).map_err(|_| InvalidPin)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

/// The pins of a certificate, each of which admits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pins {
    /// Stays the same when a certificate is renewed with its key.
    pub(crate) public_key: Option<Pin>,
    pub(crate) certificate: Pin,
}

impl Pins {
    /// The public key's pin is `None` for a certificate that is malformed.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let key = public_key(certificate);
        Self { public_key: key.map(|key| Pin::of(&key)), certificate: Pin::of(certificate) }
    }

    pub(crate) fn any_in(&self, pins: &[Pin]) -> bool {
        let has = |pin: &Pin| pins.contains(pin);
        self.public_key.as_ref().is_some_and(has) || has(&self.certificate)
    }
}

/// The SubjectPublicKeyInfo of a certificate of any version (RFC 5280, section 4.1.2.7).
pub(super) fn public_key<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Option<SubjectPublicKeyInfoDer<'a>> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(SubjectPublicKeyInfoDer::from(parsed.tbs_certificate.subject_pki.raw))
}

/// A certificate has none of the pins.
pub(super) struct NotPinned(pub(super) Pins);

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pins { public_key, certificate } = &self.0;
        f.write_str("the broker's certificate has no pin of tls.pin: its public key is ")?;
        match public_key {
            Some(key) => write!(f, "{key}")?,
            None => f.write_str("malformed")?,
        }
        write!(f, ", the certificate {certificate}")
    }
}

/// rustls shows an error of others by its Debug.
impl fmt::Debug for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for NotPinned {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_pin() {
        let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let pin: Pin = format!("sha256/{hash}").parse().unwrap();
        assert_eq!(pin, Pin::of(b""));
        assert_eq!(pin.to_string(), format!("sha256/{hash}"));
        for wrong in [
            "",
            "sha256/",
            hash,
            // curl's notation.
            &format!("sha256//{hash}"),
            &format!("sha1/{hash}"),
            &format!("sha256/{}", hash.trim_end_matches('=')),
            &format!("sha256/ {hash}"),
            "sha256/47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256/AAAA",
            "sha256/47:DE:42",
        ] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
    }
}
