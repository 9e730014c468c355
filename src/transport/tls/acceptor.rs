//! What handshakes with clients go by; renewed while connections stay as they are.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

/// TLS of a listener.
pub struct TlsAcceptor {
    pub(super) config: ArcSwap<ServerConfig>,
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
