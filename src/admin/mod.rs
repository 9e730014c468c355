//! The admin listener: metrics and health over HTTP, on the control thread.

mod answer;
mod listener;

use std::{convert::Infallible, future::ready, pin::pin, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time,
};

pub use listener::{AdminListener, BindError};

use crate::{config::Secret, observe::Metrics};
use answer::answer;
use listener::Stream;

/// What the admin listener tells; cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    pub metrics: Metrics,
    /// The bearer token (RFC 6750) that `/metrics` asks for.
    pub token: Option<Secret>,
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

/// Connections at a time, further ones wait in the backlog: far more than the scrapers and probes of
/// one proxy, few enough to leave the descriptors to the clients.
const CONNECTIONS: usize = 256;

/// For a whole request head, and so also for an idle connection: between the scrapes of a usual
/// Prometheus (15 s) it stays open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// After this a connection is closed when it is between requests, so that nobody holds one by
/// reading or sending a byte at a time.
const LIFETIME: Duration = Duration::from_mins(5);

/// For the request that is under way when a connection is to end.
const GRACE: Duration = Duration::from_secs(1);

/// The least that hyper takes (8 KiB): our requests are a line and a few headers.
const HEAD_BYTES: usize = 8 * 1024;

/// Pause when descriptors or memory are short, as for the MQTT listeners.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is ready, and then lets requests that are under way end.
pub async fn serve(listener: AdminListener, state: AdminState, shutdown: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let (open, closing) = watch::channel(());
    tokio::select! {
        () = accept(&listener, &state, &slots, &closing) => {}
        () = shutdown => {}
    }
    drop(listener);
    drop(open);
    let _ = time::timeout(GRACE, slots.acquire_many(CONNECTIONS as u32)).await;
}

async fn accept(
    listener: &AdminListener,
    state: &AdminState,
    slots: &Arc<Semaphore>,
    closing: &watch::Receiver<()>,
) {
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let (state, closing) = (state.clone(), closing.clone());
        match listener.accept().await {
            Ok(Stream::Tcp(stream)) => {
                tokio::spawn(connection(stream, state, closing, slot));
            }
            Ok(Stream::Unix(stream)) => {
                tokio::spawn(connection(stream, state, closing, slot));
            }
            Err(error) => {
                tracing::debug!(%error, "admin: accept failed");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One HTTP/1.1 connection.
async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    state: AdminState,
    mut closing: watch::Receiver<()>,
    _slot: OwnedSemaphorePermit,
) {
    // A body is not read: hyper drops what has come of it, or closes the connection.
    let service = service_fn(|request: Request<Incoming>| {
        ready(Ok::<_, Infallible>(answer(&request, &state)))
    });
    let mut http = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // Errors are the client's: it sent no HTTP, was too slow, or left.
        _ = http.as_mut() => return,
        // The sender is dropped when the listener ends.
        _ = closing.changed() => {}
        () = time::sleep(LIFETIME) => {}
    }
    http.as_mut().graceful_shutdown();
    let _ = time::timeout(GRACE, http).await;
}

#[cfg(test)]
mod tests;
