//! TLS as the file describes it, made into what rustls goes by.

mod listener_keys;
mod pem;
mod pool_keys;
mod sni;
mod unverified;

pub(super) use listener_keys::listener;
pub(super) use pool_keys::pool;

use std::sync::Arc;

use rustls::{
    Error, InconsistentKeys, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
    sign::{CertifiedKey, SigningKey},
    version::{TLS12, TLS13},
};

use super::{
    fault::quote,
    section::{Read, Reported, Section},
    values,
};

/// The one place that says whose cryptography this is. It offers X25519MLKEM768 before all else, and
/// needs no choice to have been made for the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

type Versions = &'static [&'static SupportedProtocolVersion];

/// The versions from `min_version` on. 1.0 and 1.1 are dead (RFC 8996).
fn versions(section: &mut Section<'_>) -> Read<Versions> {
    const FROM_1_2: Versions = &[&TLS13, &TLS12];
    const FROM_1_3: Versions = &[&TLS13];
    section.or("min_version", "1.2", |item| {
        values::one_of(item, &[("1.2", FROM_1_2), ("1.3", FROM_1_3)])
    })
}

/// A certificate with its chain, and a key that must be its own.
fn certified(
    section: &Section<'_>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Read<CertifiedKey> {
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => {
            let message = "is not the key of cert; allowed: the key of its first certificate";
            Err(section.fault("key", message))
        }
        Err(error) => Err(refused(section, "cert", &error)),
    }
}

/// What rustls refused, which nothing in the file should be able to bring about.
fn refused(section: &Section<'_>, key: &str, error: &Error) -> Reported {
    section.fault(key, &format!("cannot be used: {}", quote(&error.to_string())))
}
