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
    match single.status {
        Status::Good => Ok(Staple { der: der.to_vec(), next_update: single.next_update }),
        Status::Absent => Err("is an OCSP response for another certificate".to_owned()),
        Status::Revoked => Err("says that the certificate is revoked".to_owned()),
        Status::Unknown => Err("says that its CA does not know the certificate".to_owned()),
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
    /// The response is about other certificates.
    Absent,
}

fn response_status(der: &[u8]) -> Option<u8> {
    let mut response = Der(Der(der).universal(Tag::Sequence)?);
    match response.universal(Tag::Enumerated)? {
        [status] => Some(*status),
        _ => None,
    }
}

/// The answer for the certificate with this serial number; `None` if the response is malformed.
fn find_response(der: &[u8], serial: &[u8]) -> Option<Single> {
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
            return answer(single);
        }
    }
    Some(Single { status: Status::Absent, next_update: i64::MAX })
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SerialNumber};

    use super::*;

    fn tlv(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
        let content = contents.concat();
        let len = content.len() as u16;
        [&[tag, 0x82][..], &len.to_be_bytes(), &content].concat()
    }

    fn time(text: &str) -> Vec<u8> {
        tlv(0x18, &[text.as_bytes()])
    }

    /// A response for one certificate: its serial number, its status, what follows `thisUpdate`.
    fn response(serial: &[u8], status: &[u8], next_update: &[u8]) -> Vec<u8> {
        let id = tlv(
            0x30,
            &[&tlv(0x30, &[]), &tlv(4, &[b"name"]), &tlv(4, &[b"key"]), &tlv(2, &[serial])],
        );
        let single = tlv(0x30, &[&id, status, &time("20260101000000Z"), next_update]);
        let responder = tlv(0xA2, &[&tlv(4, &[b"hash"])]);
        let singles = tlv(0x30, &[&single]);
        let data = tlv(0x30, &[&responder, &time("20260101000000Z"), &singles]);
        let basic = tlv(0x30, &[&data, &tlv(0x30, &[]), &tlv(3, &[b"\0signature"])]);
        let bytes = tlv(0x30, &[&tlv(6, &[BASIC]), &tlv(4, &[&basic])]);
        tlv(0x30, &[b"\x0A\x01\x00", &tlv(0xA0, &[&bytes])])
    }

    fn certificate() -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(vec![0x51, 7]));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn answers() {
        let certificate = certificate();
        let read = |der: &[u8]| staple(der, &certificate).map(|staple| staple.next_update);
        let good = b"\x80\0";
        let next = tlv(0xA0, &[&time("20300101000000Z")]);
        assert_eq!(read(&response(b"\x51\x07", good, &next)), Ok(1_893_456_000));
        assert_eq!(read(&response(b"\x51\x07", good, b"")), Ok(i64::MAX));
        let revoked = tlv(0xA1, &[&time("20250101000000Z")]);
        for (der, wrong) in [
            (response(b"\x51\x08", good, &next), "is an OCSP response for another certificate"),
            (response(b"\x51\x07", &revoked, &next), "says that the certificate is revoked"),
            (
                response(b"\x51\x07", b"\x82\0", &next),
                "says that its CA does not know the certificate",
            ),
            (b"\x30\x03\x0A\x01\x06".to_vec(), "is not a successful OCSP response: unauthorized"),
            (b"-----BEGIN".to_vec(), "is not an OCSP response in DER"),
            (Vec::new(), "is not an OCSP response in DER"),
        ] {
            assert_eq!(read(&der), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn cut_and_changed_responses() {
        let certificate = certificate();
        let next = tlv(0xA0, &[&time("20300101000000Z")]);
        let der = response(b"\x51\x07", b"\x80\0", &next);
        for at in 0..der.len() {
            assert!(staple(&der[..at], &certificate).is_err(), "{at}");
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut changed = der.clone();
                changed[at] = value;
                let _ = staple(&changed, &certificate);
            }
        }
    }
}
