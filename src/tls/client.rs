//! TLS to brokers.

use std::sync::Arc;

use rustls::{
    ClientConfig, Error,
    client::Resumption,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    broker_verifier::BrokerCheck,
    explained::Explained,
    provider::{TlsVersion, client_provider, versions},
    traffic_secrets::secret_capture,
};

/// The most brokers whose tickets are kept, up to eight tickets each (rustls' number): more than
/// pools have, unless DNS supplies ever new names.
const RESUMABLE_BROKERS: usize = 256;

/// The parts of a pool's TLS configuration.
pub(crate) struct Client {
    pub(crate) check: BrokerCheck,
    /// The proxy's own certificate.
    pub(crate) identity: Option<CertifiedKey>,
    pub(crate) min_version: TlsVersion,
    /// The protocols that are offered, in order of preference; empty: the extension is not sent.
    pub(crate) alpn: Vec<Vec<u8>>,
}

impl Client {
    /// Only the given CAs are trusted: public CAs seldom certify a private broker, and trusting them
    /// would let any of them certify it.
    ///
    /// Each configuration has tickets of its own, since a resumed handshake checks no certificate:
    /// after a change of `check` the brokers have to present theirs.
    ///
    /// # Errors
    /// Why rustls refuses it; not expected for files that were read without an error.
    pub(crate) fn config(self) -> Result<ClientConfig, Error> {
        let verifier = Explained(self.check.verifier()?);
        let builder = ClientConfig::builder_with_provider(client_provider())
            .with_protocol_versions(versions(self.min_version, TlsVersion::Tls13))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut client = match self.identity {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
            None => builder.with_no_client_auth(),
        };
        client.resumption = Resumption::in_memory_sessions(RESUMABLE_BROKERS);
        client.alpn_protocols = self.alpn;
        // A session takes its keys over from rustls once the handshake is over.
        client.enable_secret_extraction = true;
        client.key_log = secret_capture();
        Ok(client)
    }
}
