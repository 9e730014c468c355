//! The admin thread: its listener and its connections.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime,
    sync::{mpsc, watch},
    task::JoinSet,
    time,
};

use super::{
    connections::{ConnectionOrigin, ConnectionSlot, Connections},
    handlers::AdminContext,
    router::respond,
    socket::{AdminListener, AdminSocketFile, AdminStream, AsyncListener},
    state::AdminState,
    write_timeout::WriteTimeout,
};
use crate::join::join_by;

/// The limit for a whole request head, and so for an idle connection too, which stays open between
/// Prometheus' scrapes (every 15 s by default).
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The limit for the first request head of a connection.
const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest life of a connection, so that no client keeps one by reading or sending a byte at a
/// time. It closes after the request in progress.
const MAX_LIFETIME: Duration = Duration::from_mins(5);

/// The limit for the request in progress when a connection has to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The smallest limit that hyper allows (8 KiB): requests are a line and a few headers.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Pause after an accept error, such as too few descriptors; as for the MQTT listeners.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the admin thread does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminMode {
    /// It accepts them.
    Accepting,
    /// It serves those that exist, while another process may accept from the same queue.
    Stopped,
    /// It ends those that exist after the request in progress: another process accepts.
    HandedOver,
}

/// The thread that serves the admin listener; ended on drop.
pub(crate) struct AdminThread {
    stop: Option<mpsc::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
    mode: watch::Sender<AdminMode>,
    /// Duplicated for an upgrade.
    socket: Option<OwnedFd>,
    file: Option<Arc<AdminSocketFile>>,
}

impl AdminThread {
    /// Starts the thread and its event loop: it responds even when the workers and the control
    /// thread are busy.
    ///
    /// # Errors
    /// If the thread or its event loop cannot be created.
    pub(crate) fn start(
        listener: AdminListener,
        state: AdminState,
        mode: AdminMode,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, mut stopped) = mpsc::channel(1);
        let (mode, modes) = watch::channel(mode);
        let (socket, file) = (Some(listener.share()?), listener.file());
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                let stopped = async { _ = stopped.recv().await };
                if let Err(error) = serve(listener, state, modes, stopped).await {
                    tracing::error!(%error, "the admin listener failed");
                }
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), mode, socket, file })
    }

    /// Duplicates the listening socket, for another process.
    ///
    /// # Errors
    /// As dup(2).
    pub(crate) fn share_socket(&self) -> io::Result<Option<OwnedFd>> {
        self.socket.as_ref().map(OwnedFd::try_clone).transpose()
    }

    pub(crate) fn set_mode(&self, mode: AdminMode) {
        self.mode.send_replace(mode);
    }

    /// Whether this process removes the unix socket's file at the end.
    pub(crate) fn own_file(&self, is_owned: bool) {
        if let Some(file) = &self.file {
            file.set_owned(is_owned);
        }
    }

    /// Closes the listening socket, and ends the connections after the requests in progress.
    pub(crate) fn close(&mut self) {
        self.stop = None;
        self.socket = None;
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        self.stop.take();
        // `serve` takes up to one `CLOSE_TIMEOUT`.
        let deadline = Instant::now() + 2 * CLOSE_TIMEOUT;
        if let Some(Err(error)) = self.thread.take().map(|thread| join_by(thread, deadline)) {
            tracing::error!("the admin thread {error}");
        }
    }
}

/// Serves until `shutdown` is ready, then waits for the requests in progress.
pub(super) async fn serve(
    listener: AdminListener,
    state: AdminState,
    modes: watch::Receiver<AdminMode>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let _file = listener.file();
    let listener = listener.into_async()?;
    let context = Arc::new(AdminContext::new(state));
    let (open, closing) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(listener, modes, &context, &closing, &mut connections) => {}
        () = shutdown => {}
    }
    drop(open);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let _ = time::timeout(CLOSE_TIMEOUT, all_ended).await;
    Ok(())
}

async fn accept(
    listener: AsyncListener,
    mut modes: watch::Receiver<AdminMode>,
    context: &Arc<AdminContext>,
    closing: &watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) {
    let slots = Connections::new(context.state.max_connections);
    loop {
        let (context, ends) = (context.clone(), (modes.clone(), closing.clone()));
        // The sender lives as long as this thread.
        let _ = modes.wait_for(|mode| *mode == AdminMode::Accepting).await;
        let accepted = tokio::select! {
            biased;
            Ok(()) = modes.changed() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let slot = slots.admit(ConnectionOrigin::of(peer)).await;
                match stream {
                    AdminStream::Tcp(stream) => {
                        connections.spawn(connection(stream, peer, context, ends, slot));
                    }
                    AdminStream::Unix(stream) => {
                        connections.spawn(connection(stream, None, context, ends, slot));
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "admin: cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One HTTP/1.1 connection; `peer` is `None` on a unix socket.
async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: Option<IpAddr>,
    context: Arc<AdminContext>,
    (mut modes, mut closing): (watch::Receiver<AdminMode>, watch::Receiver<()>),
    slot: Arc<ConnectionSlot>,
) {
    let had_request = AtomicBool::new(false);
    let service = service_fn(async |request: Request<Incoming>| {
        had_request.store(true, Ordering::Relaxed);
        let response = respond(request, peer, &context, &slot).await;
        slot.note_response();
        Ok::<_, Infallible>(response)
    });
    let mut http = pin!(
        http1::Builder::new()
            // A client that has sent its request and closed its side still gets the response.
            .half_close(true)
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(WriteTimeout::new(stream)), service)
    );
    tokio::select! {
        // Errors are the client's fault: it sent invalid HTTP, was too slow, or closed the
        // connection.
        _ = http.as_mut() => return,
        () = slot.evicted() => return,
        () = no_request(&had_request) => return,
        // The sender is dropped when the listener ends.
        _ = closing.changed() => {}
        Ok(_) = modes.wait_for(|mode| *mode == AdminMode::HandedOver) => {}
        () = time::sleep(MAX_LIFETIME) => {}
    }
    http.as_mut().graceful_shutdown();
    let _ = time::timeout(CLOSE_TIMEOUT, http).await;
}

/// Ends if no request has arrived within [`FIRST_HEAD_TIMEOUT`].
async fn no_request(had_request: &AtomicBool) {
    time::sleep(FIRST_HEAD_TIMEOUT).await;
    if had_request.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}
