//! Files of certificates, keys and revocation lists, in PEM (RFC 7468).

use std::{fs, path::PathBuf, sync::Arc};

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
    super::{
        CertificateFile, RevocationFile,
        fault::quote,
        section::{Item, Read, Reported},
    },
    provider,
};

/// A certificate that is shown to peers.
pub(super) const CHAIN: &str =
    "a readable file with a certificate in PEM, then those that lead to its CA";
/// And its key.
pub(super) const KEY: &str =
    "a readable file with an RSA, ECDSA or Ed25519 key in PEM, not encrypted";
/// Who has signed peers' certificates.
pub(super) const AUTHORITIES: &str = "a readable file with certificates of CAs in PEM";
const REVOCATION_LISTS: &str = "a readable file with CRLs in PEM";

/// The certificates of a file, the one that counts first.
pub(super) fn chain(item: &Item<'_>) -> Read<(CertificateFile, Vec<CertificateDer<'static>>)> {
    let file = File::read(item, CHAIN)?;
    let chain: Vec<CertificateDer<'static>> = file.sections("certificate")?;
    let mut validity = None;
    for (index, certificate) in chain.iter().enumerate() {
        let parsed = file.parsed(index, certificate)?;
        // The older ones cannot say whom they are for. `openssl x509 -req` made such where it was
        // told of no extension.
        if parsed.version() != X509Version::V3 {
            let version = parsed.version().0 + 1;
            return Err(file.wrong(&format!(
                "holds, as number {}, a certificate of X.509 version {version}, not 3",
                index + 1
            )));
        }
        let (from, to) = (parsed.validity().not_before, parsed.validity().not_after);
        validity.get_or_insert((from.timestamp(), to.timestamp()));
    }
    let (not_before, not_after) = validity.unwrap_or_default();
    Ok((CertificateFile { path: file.path, not_before, not_after }, chain))
}

/// The one key of a file.
pub(super) fn key(item: &Item<'_>) -> Read<Arc<dyn SigningKey>> {
    let file = File::read(item, KEY)?;
    if file.is_encrypted() {
        return Err(file.wrong("is encrypted"));
    }
    let key: PrivateKeyDer<'static> = file.sections("private key")?.swap_remove(0);
    let loaded = provider().key_provider.load_private_key(key);
    loaded.map_err(|_| file.wrong("holds a key that cannot be used"))
}

/// The CAs that vouch for peers. Their own validity is not looked at: they are trusted by name and key.
pub(super) fn authorities(item: &Item<'_>) -> Read<RootCertStore> {
    let file = File::read(item, AUTHORITIES)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in
        file.sections::<CertificateDer<'_>>("certificate")?.into_iter().enumerate()
    {
        let parsed = file.parsed(index, &certificate)?;
        // One that signed itself may stand for itself alone.
        if !parsed.is_ca() && parsed.subject() != parsed.issuer() {
            return Err(file.wrong(&format!("holds, as number {}, one that is no CA's", index + 1)));
        }
        let added = roots.add(certificate);
        added
            .map_err(|_| file.wrong(&format!("holds, as number {}, no certificate", index + 1)))?;
    }
    Ok(roots)
}

/// Who is not to be believed any more.
pub(super) fn revocation_lists(
    item: &Item<'_>,
) -> Read<(RevocationFile, Vec<CertificateRevocationListDer<'static>>)> {
    let file = File::read(item, REVOCATION_LISTS)?;
    let lists: Vec<CertificateRevocationListDer<'static>> = file.sections("X509 CRL")?;
    let mut next_update = i64::MAX;
    for (index, list) in lists.iter().enumerate() {
        let unusable = |why: String| {
            file.wrong(&format!("holds, as number {}, a CRL that cannot be used: {why}", index + 1))
        };
        OwnedCertRevocationList::from_der(list).map_err(|error| unusable(error.to_string()))?;
        let (_, parsed) = parse_x509_crl(list).map_err(|error| unusable(error.to_string()))?;
        next_update = next_update.min(parsed.next_update().map_or(i64::MAX, |at| at.timestamp()));
    }
    Ok((RevocationFile { path: file.path, next_update }, lists))
}

/// A file that was read, and where it was named.
struct File<'a> {
    item: &'a Item<'a>,
    allowed: &'static str,
    name: String,
    path: PathBuf,
    contents: Vec<u8>,
}

impl<'a> File<'a> {
    fn read(item: &'a Item<'a>, allowed: &'static str) -> Read<Self> {
        let name = item.expanded(allowed)?;
        let path = item.reader.absolute(&name);
        let name = quote(&name);
        match fs::read(&path) {
            Ok(contents) => Ok(Self { item, allowed, name, path, contents }),
            Err(error) => Err(item.wrong(&format!("{name} cannot be read: {error}"), allowed)),
        }
    }

    fn wrong(&self, what: &str) -> Reported {
        self.item.wrong(&format!("{} {what}", self.name), self.allowed)
    }

    /// Every section of one kind, at least one; others are passed over.
    fn sections<T: PemObject>(&self, kind: &str) -> Read<Vec<T>> {
        let sections = T::pem_slice_iter(&self.contents).collect::<Result<Vec<_>, pem::Error>>();
        let sections = sections.map_err(|error| self.wrong(&damage(&error)))?;
        match sections.is_empty() {
            false => Ok(sections),
            // The first byte of every structure in DER that is meant here, a SEQUENCE.
            true if self.contents.first() == Some(&0x30) => Err(self.wrong("is DER, not PEM")),
            true => Err(self.wrong(&format!("holds no {kind}"))),
        }
    }

    fn parsed<'c>(&self, index: usize, certificate: &'c [u8]) -> Read<X509Certificate<'c>> {
        match parse_x509_certificate(certificate) {
            Ok(([], parsed)) => Ok(parsed),
            _ => Err(self.wrong(&format!("holds, as number {}, no certificate", index + 1))),
        }
    }

    /// In the form of PKCS #8 (RFC 7468, section 11), or of old OpenSSL (RFC 1421).
    fn is_encrypted(&self) -> bool {
        let marks = [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"];
        marks.iter().any(|mark| self.contents.windows(mark.len()).any(|window| window == *mark))
    }
}

fn damage(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "is damaged: a section has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "is damaged: a BEGIN line is none".to_owned(),
        pem::Error::Base64Decode(_) => "is damaged: a section is not Base64".to_owned(),
        error => format!("is damaged: {error}"),
    }
}
