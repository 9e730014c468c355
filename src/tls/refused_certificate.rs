//! Why a certificate of an old device or of a home-made CA is refused.
//!
//! rustls names the check that failed, such as BadSignature for a key that is too short, or lists
//! every algorithm that it knows.

use std::{fmt, sync::Arc};

use rustls::{CertificateError, Error, OtherError, pki_types::CertificateDer};
use x509_parser::{
    oid_registry::Oid,
    parse_x509_certificate,
    prelude::{X509Certificate, X509Version},
    public_key::PublicKey,
};

use super::pin::NotPinned;

/// The shortest RSA key that aws-lc verifies signatures with, in bits.
const MIN_RSA_BITS: usize = 2048;

/// What is wrong with a certificate, and how to mend it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Version(u32),
    RsaBits(usize),
    Hash(&'static str),
    OtherSignature,
}

/// A refused certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Refused {
    /// Counted from 1, which is the peer's own.
    number: usize,
    flaw: Flaw,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => f.write_str("the certificate ")?,
            number => write!(f, "certificate {number} of the chain ")?,
        }
        write!(f, "{}: {}", self.flaw.problem(), self.flaw.remedy())
    }
}

impl Flaw {
    /// What is wrong, as the predicate of a sentence about the certificate.
    fn problem(self) -> String {
        match self {
            Self::Version(version) => format!("is of X.509 version {version}, not 3"),
            Self::RsaBits(bits) => {
                format!("has an RSA key of {bits} bits, and {MIN_RSA_BITS} are required")
            }
            Self::Hash(hash) => format!("is signed with {hash}, which can be forged"),
            Self::OtherSignature => "is signed with an algorithm that is not supported".to_owned(),
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Version(_) => {
                "issue it with an extension, such as subjectAltName (openssl x509 -req -extfile)"
            }
            Self::RsaBits(_) => "issue it for a longer key, or an ECDSA key",
            Self::Hash(_) => "have its CA sign it with SHA-256",
            Self::OtherSignature => {
                "have its CA sign it with SHA-256, by an RSA, ECDSA or Ed25519 key"
            }
        }
    }
}

/// What is wrong with a certificate of a file.
pub(crate) struct Weakness {
    /// Counted from 1.
    pub(crate) number: usize,
    /// The predicate of a sentence about the certificate.
    pub(crate) problem: String,
    pub(crate) remedy: &'static str,
}

impl Weakness {
    fn new(number: usize, flaw: Flaw) -> Self {
        Self { number, problem: flaw.problem(), remedy: flaw.remedy() }
    }
}

/// Why peers refuse a certificate that is presented to them: by OpenSSL's security level 2, the
/// default of distributions, and by rustls.
pub(super) fn weakness(number: usize, certificate: &X509Certificate<'_>) -> Option<Weakness> {
    // The signature of a certificate that is trusted by itself is not checked.
    let is_self_signed = certificate.subject() == certificate.issuer();
    let hash = || weak_hash(certificate).filter(|_| !is_self_signed);
    short_key(certificate).or_else(hash).map(|flaw| Weakness::new(number, flaw))
}

/// Why nothing is accepted that a CA has signed. The CA's own signature is not checked.
pub(super) fn weakness_of_ca(number: usize, ca: &X509Certificate<'_>) -> Option<Weakness> {
    short_key(ca).map(|flaw| Weakness::new(number, flaw))
}

// rustls prints errors of others by it.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Refused {}

/// What the log says about an error of rustls.
pub(crate) fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))
            if inner.is::<Refused>() || inner.is::<NotPinned>() =>
        {
            format!("invalid peer certificate: {inner}")
        }
        // The key may be that of a CA that the peer has not sent.
        Error::InvalidCertificate(CertificateError::BadSignature) => format!(
            "{error}: a certificate is not signed by the key of its CA, or that is an RSA key of \
             less than {MIN_RSA_BITS} bits"
        ),
        error => error.to_string(),
    }
}

/// Explains the error of a verification of these certificates, the peer's own first.
pub(super) fn explain<'a>(
    error: Error,
    chain: impl Iterator<Item = &'a CertificateDer<'a>>,
) -> Error {
    let Error::InvalidCertificate(reason) = &error else { return error };
    let mut chain = chain.enumerate().filter_map(|(index, der)| {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        Some((index + 1, certificate))
    });
    let mut find = |flaw: fn(&X509Certificate<'_>) -> Option<Flaw>| {
        chain.find_map(|(number, certificate)| {
            // A CA at the end of the chain is trusted, whatever its own signature.
            let is_root = number > 1 && certificate.subject() == certificate.issuer();
            flaw(&certificate).filter(|_| !is_root).map(|flaw| Refused { number, flaw })
        })
    };
    #[expect(deprecated, reason = "webpki still returns it")]
    let refused = match reason {
        CertificateError::Other(OtherError(inner)) if inner.is::<NotPinned>() => None,
        CertificateError::Other(_) => find(version),
        CertificateError::BadSignature => find(short_key),
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            find(weak_hash).or(Some(Refused { number: 1, flaw: Flaw::OtherSignature }))
        }
        _ => None,
    };
    match refused {
        Some(refused) => CertificateError::Other(OtherError(Arc::new(refused))).into(),
        None => error,
    }
}

/// Explains the error of a handshake's signature, which is made with the certificate's key.
pub(super) fn explain_signature(error: Error, certificate: &CertificateDer<'_>) -> Error {
    let key = parse_x509_certificate(certificate).ok();
    match key.and_then(|(_, certificate)| short_key(&certificate)) {
        Some(flaw) => {
            CertificateError::Other(OtherError(Arc::new(Refused { number: 1, flaw }))).into()
        }
        None => error,
    }
}

fn version(certificate: &X509Certificate<'_>) -> Option<Flaw> {
    let version = certificate.version();
    // The field counts from 0.
    (version != X509Version::V3).then(|| Flaw::Version(version.0.saturating_add(1)))
}

fn short_key(certificate: &X509Certificate<'_>) -> Option<Flaw> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < MIN_RSA_BITS => {
            Some(Flaw::RsaBits(key.key_size()))
        }
        _ => None,
    }
}

/// The hash of the CA's signature, if collisions of it are known (RFC 9155, RFC 6151).
fn weak_hash(certificate: &X509Certificate<'_>) -> Option<Flaw> {
    const HASHES: [(&[u64], &str); 5] = [
        (&[1, 2, 840, 113_549, 1, 1, 5], "SHA-1"),
        (&[1, 3, 14, 3, 2, 29], "SHA-1"),
        (&[1, 2, 840, 10045, 4, 1], "SHA-1"),
        (&[1, 2, 840, 10040, 4, 3], "SHA-1"),
        (&[1, 2, 840, 113_549, 1, 1, 4], "MD5"),
    ];
    let algorithm = &certificate.signature_algorithm.algorithm;
    let is_of = |id: &[u64]| Oid::from(id).is_ok_and(|id| id == *algorithm);
    HASHES.iter().find(|(id, _)| is_of(id)).map(|(_, hash)| Flaw::Hash(hash))
}
