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
    provider::{MinVersion, provider, server_provider},
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
    pub(crate) fn config(self) -> Result<TlsServer, Error> {
        let mut server = ServerConfig::builder_with_provider(server_provider())
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
        server.ignore_client_order = true;
        let mut client_order = server.clone();
        client_order.ignore_client_order = false;
        Ok(TlsServer { server_order: Arc::new(server), client_order: Arc::new(client_order) })
    }
}

/// TLS of a listener. Its two configurations differ only in who orders the cipher suites.
#[derive(Clone, Debug)]
pub struct TlsServer {
    server_order: Arc<ServerConfig>,
    client_order: Arc<ServerConfig>,
}

impl TlsServer {
    /// The configuration for a client. The server chooses the cipher suite, unless the client
    /// prefers ChaCha20, as clients do whose processors have no instructions for AES.
    pub fn config_for(&self, prefers_chacha20: bool) -> &Arc<ServerConfig> {
        if prefers_chacha20 { &self.client_order } else { &self.server_order }
    }

    /// The protocols that it chooses from, in its order of preference (RFC 7301).
    pub(crate) fn alpn(&self) -> &[Vec<u8>] {
        &self.server_order.alpn_protocols
    }

    #[cfg(test)]
    pub(crate) fn with_one_config(config: ServerConfig) -> Self {
        let config = Arc::new(config);
        Self { server_order: config.clone(), client_order: config }
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
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(authorities),
            Arc::new(provider()),
        )
        .with_crls(revoked)
        .only_check_end_entity_revocation();
        let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
        verifier.build().map_err(|error| Error::General(error.to_string()))
    }
}
