//! TLS from clients.

use std::sync::Arc;

use rustls::{
    Error, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    pki_types::CertificateRevocationListDer,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::{
    provider::{MinVersion, provider},
    sni::BySni,
};

/// The protocol that browsers offer for a WebSocket (RFC 7301, section 6), which starts as HTTP/1.1
/// (RFC 6455).
pub(crate) const HTTP_1_1: &str = "http/1.1";

/// The parts of a listener's TLS configuration.
pub(crate) struct Server {
    /// Not empty.
    pub(crate) certificates: Vec<CertifiedKey>,
    /// From [`Clients::verifier`].
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    pub(crate) min_version: MinVersion,
    /// In order of preference; empty: offers are ignored.
    pub(crate) alpn: Vec<Vec<u8>>,
}

impl Server {
    /// # Errors
    /// Why rustls refuses it; not expected for files that were read without an error.
    pub(crate) fn config(self) -> Result<ServerConfig, Error> {
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(self.min_version.versions())?
            .with_client_cert_verifier(self.verifier)
            .with_cert_resolver(Arc::new(BySni::new(self.certificates)));
        server.alpn_protocols = self.alpn;
        // Tickets cost no memory here, unlike stored sessions. Each load creates new ticket keys,
        // because a resumed handshake checks no CA and no CRL: a client that has been revoked has
        // to present its certificate again.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer = Ticketer::new()?;
        // A device has one connection, and gets its next ticket with it.
        server.send_tls13_tickets = 1;
        // For the alert to a client that resumes with a certificate that has expired.
        server.enable_secret_extraction = true;
        Ok(server)
    }
}

/// Which clients are accepted.
pub(crate) enum Clients {
    /// Certificates are not requested.
    Any,
    /// Certificates that these CAs have signed.
    Of {
        authorities: RootCertStore,
        /// Empty: revocation is not checked.
        revoked: Vec<CertificateRevocationListDer<'static>>,
        /// Whether clients without a certificate are refused.
        required: bool,
    },
}

impl Clients {
    /// # Errors
    /// Why the CAs or lists cannot be used.
    pub(crate) fn verifier(self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let Self::Of { authorities, revoked, required } = self else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        // CAs seldom publish lists about themselves. An outdated list causes a warning, because
        // refusing all devices would be worse. Clients of a CA without a list are refused, as it
        // may have revoked any of them.
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider())
                .with_crls(revoked)
                .only_check_end_entity_revocation();
        let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
        verifier.build().map_err(|error| Error::General(error.to_string()))
    }
}
