//! OCSP responses that are sent with a certificate (RFC 6960, section 4.2.1; RFC 6066, section 8).

use rustls::pki_types::CertificateDer;
use x509_parser::{
    asn1_rs::{Any, Class, FromDer, GeneralizedTime, Tag},
    parse_x509_certificate,
};

/// The file allowed for an OCSP response.
pub(crate) const OCSP: &str =
    "a readable file with a good OCSP response for cert in DER, as `openssl ocsp -respout` writes";

/// The OID of a BasicOCSPResponse, 1.3.6.1.5.5.7.48.1.1, in DER.
const BASIC: &[u8] = &[0x2B, 6, 1, 5, 5, 7, 0x30, 1, 1];

/// A response that says that a certificate is good.
pub(crate) struct Staple {
    pub(crate) der: Vec<u8>,
    /// The last second in which it is valid, in Unix time; the maximum if it does not say.
    pub(crate) next_update: i64,
}

/// Reads the response for a certificate. Its signature is left to the clients, which know the CA.
///
/// # Errors
/// What is wrong with the file, as the predicate of a sentence about it.
pub(crate) fn staple(der: &[u8], certificate: &CertificateDer<'_>) -> Result<Staple, String> {
    let parsed = parse_x509_certificate(certificate);
    let (_, parsed) = parsed.map_err(|_| "belongs to a malformed certificate".to_owned())?;
    let malformed = || "is not an OCSP response in DER".to_owned();
    match response_status(der).ok_or_else(malformed)? {
        0 => {}
        status => return Err(format!("is not a successful OCSP response: {}", failure(status))),
    }
    let single = find_response(der, parsed.raw_serial()).ok_or_else(malformed)?;
    match single {
        None => Err("is an OCSP response for another certificate".to_owned()),
        Some(Single { status: Status::Good, next_update }) => {
            Ok(Staple { der: der.to_vec(), next_update })
        }
        Some(Single { status: Status::Revoked, .. }) => {
            Err("says that the certificate is revoked".to_owned())
        }
        Some(Single { status: Status::Unknown, .. }) => {
            Err("says that its CA does not know the certificate".to_owned())
        }
    }
}

fn failure(status: u8) -> &'static str {
    match status {
        1 => "malformedRequest",
        2 => "internalError",
        3 => "tryLater",
        5 => "sigRequired",
        6 => "unauthorized",
        _ => "an unknown status",
    }
}

/// The responder's answer for one certificate.
struct Single {
    status: Status,
    next_update: i64,
}

enum Status {
    Good,
    Revoked,
    Unknown,
}

fn response_status(der: &[u8]) -> Option<u8> {
    let mut response = Der(Der(der).universal(Tag::Sequence)?);
    match response.universal(Tag::Enumerated)? {
        [status] => Some(*status),
        _ => None,
    }
}

/// The answer for the certificate with this serial number. The outer `None`: malformed.
fn find_response(der: &[u8], serial: &[u8]) -> Option<Option<Single>> {
    let mut response = Der(Der(der).universal(Tag::Sequence)?);
    response.universal(Tag::Enumerated)?;
    let mut bytes = Der(Der(response.explicit(0)?).universal(Tag::Sequence)?);
    if bytes.universal(Tag::Oid)? != BASIC {
        return None;
    }
    let mut basic = Der(Der(bytes.universal(Tag::OctetString)?).universal(Tag::Sequence)?);
    let mut data = Der(basic.universal(Tag::Sequence)?);
    // The version; the responder, by name or by key.
    let _ = data.explicit(0);
    data.explicit(1).or_else(|| data.explicit(2))?;
    data.universal(Tag::GeneralizedTime)?;
    let mut singles = Der(data.universal(Tag::Sequence)?);
    while !singles.0.is_empty() {
        let mut single = Der(singles.universal(Tag::Sequence)?);
        let mut id = Der(single.universal(Tag::Sequence)?);
        id.universal(Tag::Sequence)?;
        id.universal(Tag::OctetString)?;
        id.universal(Tag::OctetString)?;
        if id.universal(Tag::Integer)? == serial {
            return Some(Some(answer(single)?));
        }
    }
    Some(None)
}

/// What follows the certificate's ID.
fn answer(mut single: Der<'_>) -> Option<Single> {
    let status = match single.context()? {
        (0, _) => Status::Good,
        (1, _) => Status::Revoked,
        (2, _) => Status::Unknown,
        _ => return None,
    };
    single.universal(Tag::GeneralizedTime)?;
    let next_update = match single.explicit(0) {
        None => i64::MAX,
        Some(time) => {
            let (_, time) = GeneralizedTime::from_der(time).ok()?;
            time.utc_datetime().ok()?.unix_timestamp()
        }
    };
    Some(Single { status, next_update })
}

/// Takes elements from the front, which stay where another was wanted.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn take(&mut self, wanted: impl Fn(Class, u32) -> bool) -> Option<(u32, &'a [u8])> {
        let (rest, any) = Any::from_der(self.0).ok()?;
        let tag = any.header.tag().0;
        wanted(any.header.class(), tag).then(|| {
            self.0 = rest;
            (tag, any.data)
        })
    }

    fn universal(&mut self, tag: Tag) -> Option<&'a [u8]> {
        let taken = self.take(|class, found| class == Class::Universal && found == tag.0);
        taken.map(|(_, content)| content)
    }

    fn explicit(&mut self, tag: u32) -> Option<&'a [u8]> {
        let taken = self.take(|class, found| class == Class::ContextSpecific && found == tag);
        taken.map(|(_, content)| content)
    }

    /// Any context-specific element, with its tag.
    fn context(&mut self) -> Option<(u32, &'a [u8])> {
        self.take(|class, _| class == Class::ContextSpecific)
    }
}
