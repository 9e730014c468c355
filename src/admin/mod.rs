//! The admin listener: metrics and health over HTTP, on the control thread.

use std::{io, path::PathBuf, sync::Arc};

use crate::{config::Bind, observe::Metrics};

/// What the admin listener tells; cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    pub metrics: Metrics,
    /// The bearer token that `/metrics` asks for.
    pub token: Option<Arc<str>>,
    /// Asked at every `/readyz`.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

/// Whether this proxy should be sent new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Why not, in a word or two for the operator.
    NotReady(&'static str),
}

/// Why the admin listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("admin: cannot listen on {bind}: {source}; {advice}")]
pub struct BindError {
    bind: String,
    source: io::Error,
    advice: &'static str,
}

/// The admin listener's socket.
pub struct AdminListener {
    #[expect(dead_code)]
    path: Option<PathBuf>,
}

impl AdminListener {
    /// Opens the socket. To be called inside the runtime that will serve it.
    pub fn bind(_bind: &Bind) -> Result<Self, BindError> {
        todo!()
    }
}

/// Serves until `shutdown` is ready.
pub async fn serve(
    _listener: AdminListener,
    _state: AdminState,
    shutdown: impl Future<Output = ()>,
) {
    shutdown.await;
}
