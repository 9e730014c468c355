//! A listener whose sockets are bound.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

use super::inherited_socket::InheritedSocket;
use crate::config::Bind;

/// Connections that the kernel queues until they are accepted; limited by net.core.somaxconn.
pub(super) const BACKLOG: i32 = 4096;

/// A bound listener of the configuration.
#[derive(Debug)]
pub struct BoundListener {
    /// The bound address, with the port chosen by the kernel if the configured port is 0.
    pub bind: Bind,
    /// At least one socket per worker.
    pub sockets: Vec<OwnedFd>,
    /// The inherited socket of which `sockets` are duplicates. The service manager holds it too.
    pub(super) inherited: Option<Arc<InheritedSocket>>,
    pub(super) file: Option<UnixSocketFile>,
}

impl BoundListener {
    /// A listener that accepts nothing, for simulations.
    pub(crate) fn without_sockets(bind: Bind) -> Self {
        Self { bind, sockets: Vec::new(), inherited: None, file: None }
    }

    /// The inherited socket of which the sockets are duplicates, if any.
    pub fn inherited(&self) -> Option<&Arc<InheritedSocket>> {
        self.inherited.as_ref()
    }
}

/// The file of a unix socket, which is removed on drop.
#[derive(Debug)]
pub(super) struct UnixSocketFile(PathBuf);

impl UnixSocketFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Leaves the file in place.
    pub(super) fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for UnixSocketFile {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() {
            return;
        }
        // If this fails, the next start finds the file stale and removes it.
        let _ = std::fs::remove_file(&self.0);
    }
}
