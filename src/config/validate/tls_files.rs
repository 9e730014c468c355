//! Certificates and keys of TLS, and what is likely a mistake in their files though they can be
//! used.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustls::{Error, sign::CertifiedKey};

use super::{Checker, Valid, checker::Reported};
use crate::{
    config::{
        CertificateFile, TlsFileWarning,
        at::{At, Place},
        fault::quote,
        values::FilePath,
    },
    tls::{self, Weakness},
};

/// S_IROTH of a file's mode: inode(7).
const READ_BY_OTHERS: u32 = 0o004;

/// How warnings about a certificate and its key are worded.
pub(super) struct PairWords {
    /// The keys of `tls` that name the files.
    cert: &'static str,
    key: &'static str,
    /// What follows from a certificate that is too weak.
    effect: &'static str,
    /// What the private key allows.
    risk: &'static str,
}

pub(super) const LISTENER_PAIR: PairWords = PairWords {
    cert: "certificates",
    key: "certificates",
    effect: "clients may refuse it",
    risk: "impersonate the listener",
};
pub(super) const POOL_PAIR: PairWords = PairWords {
    cert: "cert",
    key: "key",
    effect: "brokers may refuse it",
    risk: "connect to the brokers as this proxy does",
};

/// A certificate and its key, from the files that two keys name.
pub(super) fn certified(
    checker: &Checker<'_>,
    (cert, key): (&At<FilePath>, &At<FilePath>),
    words: &PairWords,
    warnings: &mut Vec<TlsFileWarning>,
) -> Valid<(CertificateFile, CertifiedKey)> {
    let chain = checker.file(cert, tls::CHAIN, tls::chain);
    let loaded = checker.file(key, tls::KEY, tls::key);
    let ((path, chain), (key_path, loaded)) = (chain?, loaded?);
    warnings.extend(weaknesses(words.cert, &path, &chain.weaknesses, words.effect));
    warnings.extend(readable_key(words.key, &key_path, words.risk));
    match tls::certified(&chain, loaded) {
        Ok(Some(certified)) => {
            let (not_before, not_after) = (chain.not_before, chain.not_after);
            Ok((CertificateFile { path, not_before, not_after }, certified))
        }
        Ok(None) => Err(checker.wrong(
            &key.place(),
            "is not the key of cert",
            "the key of its first certificate",
        )),
        Err(error) => Err(refused(checker, &cert.place(), &error)),
    }
}

/// Whether any user of this machine may read the file.
pub(super) fn is_world_readable(path: &Path) -> bool {
    // A file that has vanished meanwhile can be read by nobody.
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & READ_BY_OTHERS != 0)
}

/// The warning about a private key that any user of this machine can read. `risk`: what the key
/// allows.
fn readable_key(key: &'static str, path: &Path, risk: &str) -> Option<TlsFileWarning> {
    let file = path.display();
    is_world_readable(path).then(|| {
        let text = format!(
            "any user of this machine can read {file}, and with it {risk}: chmod o= {file}"
        );
        TlsFileWarning { key, text }
    })
}

/// The warnings about the certificates of a file. `effect`: what follows for a certificate.
pub(super) fn weaknesses(
    key: &'static str,
    path: &Path,
    weaknesses: &[Weakness],
    effect: &str,
) -> impl Iterator<Item = TlsFileWarning> {
    weaknesses.iter().map(move |Weakness { number, problem, remedy }| {
        let file = path.display();
        let text = format!("certificate {number} of {file} {problem}, so that {effect}: {remedy}");
        TlsFileWarning { key, text }
    })
}

/// Refused by rustls, which should not happen with files that were validated.
pub(super) fn refused(checker: &Checker<'_>, at: &Place, error: &Error) -> Reported {
    checker.fault(at, format!("cannot be used: {}", quote(&error.to_string())))
}
