//! TLS to brokers.

use std::sync::Arc;

use rustls::{
    ClientConfig, Error, RootCertStore,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    explained::Explained,
    provider::{TlsVersion, client_provider, versions},
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
    min_version: TlsVersion,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(client_provider())
        .with_protocol_versions(versions(min_version, TlsVersion::Tls13))?;
    let verifier: Arc<dyn ServerCertVerifier> = match roots {
        Some(roots) => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), client_provider());
            verifier.build().map_err(|error| Error::General(error.to_string()))?
        }
        None => Arc::new(Unverified(client_provider())),
    };
    let builder =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Explained(verifier)));
    let mut client = match identity {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    client.resumption = Resumption::in_memory_sessions(RESUMABLE_BROKERS);
    Ok(client)
}
