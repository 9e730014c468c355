//! MQTT over WebSocket.

use std::{num::NonZeroU32, sync::Arc};

use crate::networks::PrefixSet;

/// MQTT over WebSocket (MQTT 5.0, section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocket {
    /// The paths of requests; not empty.
    pub paths: Vec<PathPattern>,
    /// The longest head of a request, in bytes.
    pub max_head: usize,
    /// The subprotocols that are accepted, the preferred first.
    pub subprotocols: Vec<Arc<str>>,
    /// Whether clients that offer no subprotocol are accepted.
    pub without_subprotocol: bool,
    /// Seconds without data to a client after which it is sent a Ping; `None`: never.
    pub ping: Option<NonZeroU32>,
    /// The HTTP proxies whose X-Forwarded-For is trusted.
    pub forwarded_for: PrefixSet,
    /// The origins of pages that may connect (RFC 6454); `None`: any. Only browsers send an Origin.
    pub origins: Option<Vec<Arc<str>>>,
}

/// The paths that a request may have, without a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    Exact(Arc<str>),
    /// Any path that begins so.
    Prefix(Arc<str>),
}

impl PathPattern {
    /// The path, if it matches.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<str>> {
        match self {
            // Sessions share the text of the configuration.
            Self::Exact(wanted) => (path == &**wanted).then(|| wanted.clone()),
            Self::Prefix(prefix) => path.starts_with(&**prefix).then(|| path.into()),
        }
    }
}
