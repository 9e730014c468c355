//! The facts about a client's certificate.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::proto::CertificateFacts;

/// The most alternative names of one kind that are kept, and their bytes. Sessions keep them, and a
/// certificate may have thousands.
const MAX_NAMES: usize = 64;
const MAX_NAMES_BYTES: usize = 8192;

/// The longest serial number (RFC 5280, section 4.1.2.2).
const MAX_SERIAL_BYTES: usize = 20;

/// The facts about a verified certificate. A value that is malformed counts as absent.
pub(super) fn certificate_facts(der: &CertificateDer<'_>) -> CertificateFacts {
    let mut facts = CertificateFacts {
        fingerprint: Some(hex(digest(&SHA256, der).as_ref())),
        ..CertificateFacts::default()
    };
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return facts };
    facts.common_name = common_name(&certificate);
    facts.serial = serial(certificate.raw_serial());
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    facts.san_dns = kept(names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    }));
    facts.san_uri = kept(names.iter().filter_map(|name| match name {
        GeneralName::URI(name) => Some(*name),
        _ => None,
    }));
    facts.san_email = kept(names.iter().filter_map(|name| match name {
        GeneralName::RFC822Name(name) => Some(*name),
        _ => None,
    }));
    facts
}

/// The first common name of the subject, unless it has a control character.
fn common_name(certificate: &X509Certificate<'_>) -> Option<Box<str>> {
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.contains(char::is_control)).then(|| name.into())
}

/// The first names that fit. All three kinds are ASCII without spaces and control characters (RFC
/// 5280, section 4.2.1.6); others are skipped.
fn kept<'a>(names: impl Iterator<Item = &'a str>) -> Box<[Box<str>]> {
    let is_valid = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    let mut bytes = 0;
    let fits = |name: &&str| {
        bytes += name.len();
        bytes <= MAX_NAMES_BYTES
    };
    names.filter(is_valid).take(MAX_NAMES).take_while(fits).map(Box::from).collect()
}

/// The serial number in hexadecimal. `None` for a number that RFC 5280 forbids: a negative one, or a
/// longer one.
fn serial(bytes: &[u8]) -> Option<Box<str>> {
    let is_negative = bytes.first()? & 0x80 != 0;
    // A positive number may begin with a zero byte, so that its first bit is not the sign.
    let significant = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        _ => bytes,
    };
    (!is_negative && significant.len() <= MAX_SERIAL_BYTES).then(|| hex(significant))
}

fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to memory cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber};

    use super::*;

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "device-7");
        params
    }

    fn facts(params: &CertificateParams) -> CertificateFacts {
        let key = KeyPair::generate().unwrap();
        certificate_facts(params.self_signed(&key).unwrap().der())
    }

    fn texts(names: &[Box<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    #[test]
    fn names_are_in_their_order() {
        let mut params = params();
        params.subject_alt_names = vec![
            dns("b.example"),
            SanType::URI("urn:dev:b".try_into().unwrap()),
            SanType::Rfc822Name("b@example.com".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
            dns("a.example"),
            SanType::URI("spiffe://example/a".try_into().unwrap()),
        ];
        params.serial_number = Some(SerialNumber::from(vec![0, 0x0D, 0xEF]));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let facts = certificate_facts(certificate.der());
        assert_eq!(facts.common_name.as_deref(), Some("device-7"));
        assert_eq!(texts(&facts.san_dns), ["b.example", "a.example"]);
        assert_eq!(texts(&facts.san_uri), ["urn:dev:b", "spiffe://example/a"]);
        assert_eq!(texts(&facts.san_email), ["b@example.com"]);
        assert_eq!(facts.serial.as_deref(), Some("0def"));
        let hash = digest(&SHA256, certificate.der());
        let wanted =
            hash.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(facts.fingerprint.as_deref(), Some(&*wanted));
        let all: Vec<_> = facts.alternative_names().collect();
        assert_eq!(all[..2], ["DNS:b.example", "DNS:a.example"]);
        assert_eq!(all[4], "email:b@example.com");
    }

    #[test]
    fn values_that_are_unsafe_are_absent() {
        for name in ["a\0b", "a\nb", "a\u{7f}b", "a\u{85}b"] {
            let mut params = params();
            params.distinguished_name.push(DnType::CommonName, name);
            assert_eq!(facts(&params).common_name, None, "{name:?}");
        }
        for name in ["a\"b", "*", "küche"] {
            let mut params = params();
            params.distinguished_name.push(DnType::CommonName, name);
            assert_eq!(facts(&params).common_name.as_deref(), Some(name));
        }
        let mut params = params();
        params.subject_alt_names =
            ["a\0b", "a\nb", "a b", "", "good.example", "\"*"].map(dns).into();
        assert_eq!(texts(&facts(&params).san_dns), ["good.example", "\"*"]);
    }

    #[test]
    fn names_are_bounded() {
        let mut params = params();
        params.subject_alt_names = (0..3000).map(|n| dns(&format!("{n}.example"))).collect();
        let kept = facts(&params);
        assert_eq!(kept.san_dns.len(), MAX_NAMES);
        assert_eq!(&*kept.san_dns[MAX_NAMES - 1], "15.example");
        params.subject_alt_names = [4000, 96, 1].map(|len| dns(&"x".repeat(len))).into();
        assert_eq!(facts(&params).san_dns.len(), 2);
        params.subject_alt_names = vec![dns(&"x".repeat(MAX_NAMES_BYTES + 1))];
        assert_eq!(facts(&params).san_dns.len(), 0);
    }

    #[test]
    fn serial_numbers() {
        for (bytes, wanted) in [
            (&[0x0D][..], Some("0d")),
            (&[0], Some("00")),
            (&[0, 0xFF], Some("ff")),
            (&[0xFF], None),
            (&[], None),
            (&[0x7F; 20], Some("7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f")),
            (&[0x7F; 21], None),
        ] {
            assert_eq!(serial(bytes).as_deref(), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn a_certificate_cut_anywhere_has_its_hash_alone() {
        let key = KeyPair::generate().unwrap();
        let der = params().self_signed(&key).unwrap().der().to_vec();
        for len in 0..der.len() {
            let facts = certificate_facts(&CertificateDer::from(&der[..len]));
            let fingerprint = facts.fingerprint.clone();
            assert!(fingerprint.is_some());
            assert_eq!(facts, CertificateFacts { fingerprint, ..CertificateFacts::default() });
        }
    }
}
