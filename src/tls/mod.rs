//! TLS files made into configurations of rustls. Whoever names a file says where it was named.

mod client;
mod pem;
mod server;
mod sni;
mod unverified;

use std::sync::Arc;

use rustls::{
    Error, InconsistentKeys, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    sign::{CertifiedKey, SigningKey},
    version::{TLS12, TLS13},
};

pub(crate) use client::client;
pub(crate) use pem::{
    AUTHORITIES, CHAIN, Chain, KEY, REVOCATION_LISTS, authorities, chain, key, revocation_lists,
};
pub(crate) use server::{Clients, HTTP_1_1, Server};

/// The lowest version of TLS that is spoken. 1.0 and 1.1 are dead (RFC 8996).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MinVersion {
    Tls12,
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        const FROM_1_2: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        const FROM_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
        match self {
            Self::Tls12 => FROM_1_2,
            Self::Tls13 => FROM_1_3,
        }
    }
}

/// The one place that says whose cryptography this is. It offers X25519MLKEM768 before all else, and
/// needs no choice to have been made for the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A certificate with its chain and its key. `None`: the key is that of another certificate.
///
/// # Errors
/// What else rustls has against them.
pub(crate) fn certified(
    chain: &Chain,
    key: Arc<dyn SigningKey>,
) -> Result<Option<CertifiedKey>, Error> {
    let certified = CertifiedKey::new(chain.certificates.clone(), key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Some(certified)),
        Err(Error::InconsistentKeys(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
