//! TLS from clients.

use std::sync::Arc;

use rustls::{
    Error, ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{NoServerSessionStorage, ProducesTickets},
};

use super::{
    clients::Clients,
    hidden_sni::restoring_provider,
    provider::{TlsVersion, provider, versions},
    sni::{BySni, Presented},
    ticket_identity::identity,
    ticket_keys::{SharedTicketer, TicketKeys},
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
    /// `None`: keys of this configuration alone, which rustls generates and rotates.
    pub(crate) keys: Option<TicketKeys>,
}

/// The configurations of a listener.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub config: Arc<ServerConfig>,
    /// The same for clients whose server name is hidden by
    /// [`hide_server_name`](super::hide_server_name).
    pub without_sni: Arc<ServerConfig>,
}

impl Server {
    /// # Errors
    /// Why rustls refuses it; not expected for files that were read without an error.
    pub(crate) fn configs(self) -> Result<ServerTls, Error> {
        let identity = identity(&self.certificates, &self.clients);
        // A resumed handshake checks no CA and no CRL, so a client that has been revoked has to
        // present its certificate again: generated keys are new with each load, and keys of a file
        // are bound to the CAs and CRLs.
        let ticketer = match self.tickets.keys {
            _ if self.tickets.count == 0 => None,
            Some(keys) => {
                Some(Arc::new(SharedTicketer::new(keys, identity)) as Arc<dyn ProducesTickets>)
            }
            None => Some(Ticketer::new()?),
        };
        let verifier = self.clients.verifier()?;
        let by_sni = Arc::new(BySni::new(self.certificates));
        let config = |provider| {
            let mut server = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(versions(self.min_version, self.max_version))?
                .with_client_cert_verifier(verifier.clone())
                .with_cert_resolver(by_sni.clone());
            server.alpn_protocols.clone_from(&self.alpn);
            server.max_fragment_size = Some(self.max_record + RECORD_HEADER_BYTES);
            // Tickets cost no memory here, unlike stored sessions.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = self.tickets.count;
            if let Some(ticketer) = &ticketer {
                server.ticketer = ticketer.clone();
            }
            // For the alert to a client that resumes with a certificate that has expired.
            server.enable_secret_extraction = true;
            Ok::<_, Error>(Arc::new(server))
        };
        Ok(ServerTls { config: config(provider())?, without_sni: config(restoring_provider())? })
    }
}
