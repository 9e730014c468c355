//! TLS over a socket.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

/// What a listener's TLS handshakes go by; renewed without touching the connections that are there.
pub struct TlsAcceptor {
    config: ArcSwap<ServerConfig>,
}

impl TlsAcceptor {
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self { config: ArcSwap::new(config) }
    }

    /// Has all later handshakes go by `config`.
    pub fn renew(&self, config: Arc<ServerConfig>) {
        self.config.store(config);
    }
}
