//! Certificates, keys and revocation lists in PEM (RFC 7468).

use std::sync::Arc;

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::SigningKey,
};
use webpki::OwnedCertRevocationList;
use x509_parser::{
    parse_x509_certificate, parse_x509_crl,
    prelude::{X509Certificate, X509Version},
};

use super::{
    provider::provider,
    refused_certificate::{Weakness, weakness, weakness_of_ca},
};

/// The files allowed for a certificate that is presented to peers.
pub(crate) const CHAIN: &str =
    "a readable file with a certificate in PEM, then those that lead to its CA";
/// The files allowed for its key.
pub(crate) const KEY: &str =
    "a readable file with an RSA, ECDSA or Ed25519 key in PEM, not encrypted";
/// The files allowed for CAs.
pub(crate) const AUTHORITIES: &str = "a readable file with certificates of CAs in PEM";
/// The files allowed for revocation lists.
pub(crate) const REVOCATION_LISTS: &str = "a readable file with CRLs in PEM";

/// A certificate and those that lead to its CA.
pub(crate) struct Chain {
    /// Not empty; the end-entity certificate comes first.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// The first and the last second in which that certificate is valid, in Unix time.
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    /// Why peers refuse some of them.
    pub(crate) weaknesses: Vec<Weakness>,
}

/// Reads the certificates of a file.
///
/// # Errors
/// What is wrong with the file, as the predicate of a sentence about it.
pub(crate) fn chain(pem: &[u8]) -> Result<Chain, String> {
    let certificates: Vec<CertificateDer<'static>> = sections(pem, "certificate")?;
    let (mut validity, mut weaknesses) = (None, Vec::new());
    for (index, certificate) in certificates.iter().enumerate() {
        let number = index + 1;
        let parsed = parsed(number, certificate)?;
        // Older versions cannot name hosts. `openssl x509 -req` creates them if no extension is
        // requested.
        if parsed.version() != X509Version::V3 {
            let version = parsed.version().0 + 1;
            return Err(format!(
                "is invalid: certificate {number} is of X.509 version {version}, not 3"
            ));
        }
        let (from, to) = (parsed.validity().not_before, parsed.validity().not_after);
        validity.get_or_insert((from.timestamp(), to.timestamp()));
        weaknesses.extend(weakness(number, &parsed));
    }
    let (not_before, not_after) = validity.unwrap_or_default();
    Ok(Chain { certificates, not_before, not_after, weaknesses })
}

/// Reads the first key of a file.
///
/// # Errors
/// What is wrong with the file, as the predicate of a sentence about it.
pub(crate) fn key(pem: &[u8]) -> Result<Arc<dyn SigningKey>, String> {
    if is_encrypted(pem) {
        return Err("is encrypted".to_owned());
    }
    let key: PrivateKeyDer<'static> = sections(pem, "private key")?.swap_remove(0);
    let loaded = provider().key_provider.load_private_key(key);
    loaded.map_err(|_| "holds a key that cannot be used".to_owned())
}

/// The CAs of peers.
pub(crate) struct Authorities {
    pub(crate) roots: RootCertStore,
    /// Why nothing is accepted that some of them have signed.
    pub(crate) weaknesses: Vec<Weakness>,
}

/// Reads the CAs of peers. Their own validity is ignored: they are trusted by name and key.
///
/// # Errors
/// What is wrong with the file, as the predicate of a sentence about it.
pub(crate) fn authorities(pem: &[u8]) -> Result<Authorities, String> {
    let (mut roots, mut weaknesses) = (RootCertStore::empty(), Vec::new());
    let certificates: Vec<CertificateDer<'_>> = sections(pem, "certificate")?;
    for (index, certificate) in certificates.into_iter().enumerate() {
        let number = index + 1;
        let parsed = parsed(number, &certificate)?;
        // A self-signed certificate certifies only itself.
        if !parsed.is_ca() && parsed.subject() != parsed.issuer() {
            return Err(format!("is invalid: certificate {number} is not a CA certificate"));
        }
        weaknesses.extend(weakness_of_ca(number, &parsed));
        roots.add(certificate).map_err(|_| malformed(number))?;
    }
    Ok(Authorities { roots, weaknesses })
}

/// The revocation lists of a file.
pub(crate) struct RevocationLists {
    pub(crate) lists: Vec<CertificateRevocationListDer<'static>>,
    /// When the first of them is due to be replaced, in Unix time.
    pub(crate) next_update: i64,
}

/// Reads the revocation lists of a file.
///
/// # Errors
/// What is wrong with the file, as the predicate of a sentence about it.
pub(crate) fn revocation_lists(pem: &[u8]) -> Result<RevocationLists, String> {
    let lists: Vec<CertificateRevocationListDer<'static>> = sections(pem, "X509 CRL")?;
    let mut next_update = i64::MAX;
    for (index, list) in lists.iter().enumerate() {
        let unusable = |why: String| format!("is invalid: CRL {} cannot be used: {why}", index + 1);
        OwnedCertRevocationList::from_der(list).map_err(|error| unusable(error.to_string()))?;
        let (_, parsed) = parse_x509_crl(list).map_err(|error| unusable(error.to_string()))?;
        next_update = next_update.min(parsed.next_update().map_or(i64::MAX, |at| at.timestamp()));
    }
    Ok(RevocationLists { lists, next_update })
}

/// Every section of one kind, at least one; others are skipped.
fn sections<T: PemObject>(pem: &[u8], kind: &str) -> Result<Vec<T>, String> {
    let sections = T::pem_slice_iter(pem).collect::<Result<Vec<_>, pem::Error>>();
    let sections = sections.map_err(|error| damage(&error))?;
    match sections.is_empty() {
        false => Ok(sections),
        // The structures expected here are SEQUENCEs, which begin with this byte in DER.
        true if pem.first() == Some(&0x30) => Err("is DER, not PEM".to_owned()),
        true => Err(format!("holds no {kind}")),
    }
}

/// `number` counts from 1.
fn parsed(number: usize, certificate: &[u8]) -> Result<X509Certificate<'_>, String> {
    match parse_x509_certificate(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(malformed(number)),
    }
}

fn malformed(number: usize) -> String {
    format!("is invalid: certificate {number} is malformed")
}

/// Whether a key is encrypted, by PKCS #8 (RFC 7468, section 11) or by old OpenSSL (RFC 1421).
fn is_encrypted(pem: &[u8]) -> bool {
    let marks = [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"];
    marks.iter().any(|mark| pem.windows(mark.len()).any(|window| window == *mark))
}

fn damage(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "is damaged: a section has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "is damaged: malformed BEGIN line".to_owned(),
        pem::Error::Base64Decode(_) => "is damaged: a section is not Base64".to_owned(),
        error => format!("is damaged: {error}"),
    }
}
