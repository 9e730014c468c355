//! Why a listener cannot be bound, and what to do about it.

use std::{io, sync::Arc};

use crate::config::{self, Bind};

/// A listener that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: cannot listen on {address}: {error}{hint}")]
pub struct BindError {
    listener: Arc<str>,
    address: String,
    error: io::Error,
    hint: &'static str,
}

impl BindError {
    pub(super) fn new(listener: &config::Listener, address: &Bind, error: io::Error) -> Self {
        Self {
            listener: listener.name.clone(),
            address: address.to_string(),
            hint: hint(&error),
            error,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop the process that listens there (see `ss -ltnp`) or choose another address"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}
