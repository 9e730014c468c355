//! TLS from clients.

use std::sync::Arc;

use rustls::{
    Error, ServerConfig,
    server::{NoServerSessionStorage, ProducesTickets},
};

use super::{
    clients::Clients,
    generated_keys::{GeneratedTicketer, HandedTicketKeys},
    hidden_sni::restoring_provider,
    provider::{TlsVersion, server_provider, versions},
    restored_signature::RestoredSignature,
    sni::{BySni, Presented},
    ticket_identity::identity,
    ticket_keys::{SharedTicketer, TicketKeys},
    traffic_secrets::secret_capture,
};

/// The protocol that browsers offer for a WebSocket (RFC 7301, section 6), which starts as HTTP/1.1
/// (RFC 6455).
pub(crate) const HTTP_1_1: &str = "http/1.1";

/// What rustls adds to `max_fragment_size`: the header of a record.
const RECORD_HEADER_BYTES: usize = 5;

/// The parts of a listener's TLS configuration.
pub(crate) struct Server {
    /// Not empty.
    pub(crate) certificates: Vec<Presented>,
    pub(crate) clients: Clients,
    /// Not newer than `max_version`.
    pub(crate) min_version: TlsVersion,
    pub(crate) max_version: TlsVersion,
    /// In order of preference; empty: offers are ignored.
    pub(crate) alpn: Vec<Vec<u8>>,
    /// The most bytes of plaintext in a record to a client: up to 2^14 (RFC 8446, section 5.1).
    pub(crate) max_record: usize,
    pub(crate) tickets: Tickets,
}

/// The tickets with which clients resume their sessions.
pub(crate) struct Tickets {
    /// How many a client gets with TLS 1.3; with 1.2 it gets one. 0: none with either.
    pub(crate) count: usize,
    /// `None`: keys of this configuration alone, which are generated and replaced from time to time.
    pub(crate) keys: Option<TicketKeys>,
}

impl Server {
    /// # Errors
    /// Why rustls refuses it; not expected for files that were read without an error.
    pub(crate) fn config(self) -> Result<TlsServer, Error> {
        let identity = identity(&self.certificates, &self.clients);
        // A resumed handshake checks no CA and no CRL, so a client that has been revoked has to
        // present its certificate again: generated keys are new with each load, and in another
        // process, as keys of a file, they are bound to the CAs and CRLs.
        let mut generated = None;
        let ticketer: Arc<dyn ProducesTickets> = if let Some(keys) = self.tickets.keys {
            Arc::new(SharedTicketer::new(keys, identity))
        } else {
            let own = GeneratedTicketer::new(identity);
            let own = Arc::new(own.map_err(|_| Error::FailedToGetRandomBytes)?);
            generated = (self.tickets.count > 0).then(|| own.clone());
            own
        };
        let verifier = self.clients.verifier()?;
        let by_sni = Arc::new(BySni::new(self.certificates));
        let config = |provider, verifier| {
            let mut server = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(versions(self.min_version, self.max_version))?
                .with_client_cert_verifier(verifier)
                .with_cert_resolver(by_sni.clone());
            server.alpn_protocols.clone_from(&self.alpn);
            server.max_fragment_size = Some(self.max_record + RECORD_HEADER_BYTES);
            // Tickets cost no memory here, unlike stored sessions.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = self.tickets.count;
            if self.tickets.count > 0 {
                server.ticketer = ticketer.clone();
            }
            share_keys(&mut server);
            Ok::<_, Error>(server)
        };
        let client_order = config(server_provider(), verifier.clone())?;
        let mut server_order = client_order.clone();
        server_order.ignore_client_order = true;
        let without_sni = config(restoring_provider(), Arc::new(RestoredSignature(verifier)))?;
        Ok(TlsServer {
            server_order: Arc::new(server_order),
            client_order: Arc::new(client_order),
            without_sni: Arc::new(without_sni),
            generated,
        })
    }
}

/// Lets a session take its keys over from rustls once the handshake is over.
fn share_keys(config: &mut ServerConfig) {
    config.enable_secret_extraction = true;
    config.key_log = secret_capture();
}

/// TLS of a listener. Its configurations differ only in who orders the cipher suites, and in whether
/// a server name may be hidden.
#[derive(Clone, Debug)]
pub struct TlsServer {
    server_order: Arc<ServerConfig>,
    client_order: Arc<ServerConfig>,
    without_sni: Arc<ServerConfig>,
    /// `None`: tickets have the keys of a file, or are off.
    generated: Option<Arc<GeneratedTicketer>>,
}

impl TlsServer {
    /// The configuration for a client. The server chooses the cipher suite, unless the client
    /// prefers ChaCha20, as clients do whose processors have no instructions for AES.
    pub fn config_for(&self, prefers_chacha20: bool) -> &Arc<ServerConfig> {
        if prefers_chacha20 { &self.client_order } else { &self.server_order }
    }

    /// The configuration for a client whose server name was hidden by
    /// [`hide_server_name`](super::hide_server_name).
    pub(crate) fn without_sni(&self) -> &Arc<ServerConfig> {
        &self.without_sni
    }

    /// Whether it is the same one, and not one that was read again.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.server_order, &other.server_order)
    }

    /// The generated keys of its tickets, for another process; `None` if it has none.
    pub(crate) fn hand_over_tickets(&self) -> Option<HandedTicketKeys> {
        Some(self.generated.as_ref()?.hand_over())
    }

    /// Goes on with the generated keys of another process, if clients and server are the same.
    pub(crate) fn take_over_tickets(&self, handed: &HandedTicketKeys) {
        if let Some(generated) = &self.generated {
            generated.take_over(handed);
        }
    }

    /// The protocols that it chooses from, in its order of preference (RFC 7301).
    pub(crate) fn alpn(&self) -> &[Vec<u8>] {
        &self.server_order.alpn_protocols
    }

    #[cfg(test)]
    pub(crate) fn with_one_config(mut config: ServerConfig) -> Self {
        share_keys(&mut config);
        let config = Arc::new(config);
        Self {
            server_order: config.clone(),
            client_order: config.clone(),
            without_sni: config,
            generated: None,
        }
    }
}
