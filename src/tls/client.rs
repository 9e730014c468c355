//! TLS to brokers.

use std::sync::Arc;

use rustls::{
    ClientConfig, Error, RootCertStore,
    client::Resumption,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    provider::{MinVersion, client_provider},
    unverified::Unverified,
};

/// The most brokers whose tickets are kept, up to eight tickets each (rustls' number): more than
/// pools have, unless DNS supplies ever new names.
const RESUMABLE_BROKERS: usize = 256;

/// The configuration of a pool. `roots`: the CAs of the brokers; `None`: any certificate is
/// accepted. `identity`: the proxy's own certificate.
///
/// Only the given CAs are trusted: public CAs seldom certify a private broker, and trusting them
/// would let any of them certify it.
///
/// # Errors
/// Why rustls refuses it; not expected for files that were read without an error.
pub(crate) fn client(
    roots: Option<RootCertStore>,
    identity: Option<CertifiedKey>,
    min_version: MinVersion,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(client_provider())
        .with_protocol_versions(min_version.versions())?;
    let builder = if let Some(roots) = roots {
        builder.with_root_certificates(roots)
    } else {
        let unverified = Arc::new(Unverified(client_provider()));
        builder.dangerous().with_custom_certificate_verifier(unverified)
    };
    let mut client = match identity {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    client.resumption = Resumption::in_memory_sessions(RESUMABLE_BROKERS);
    Ok(client)
}
