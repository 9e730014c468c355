//! The admin thread: its listener and its connections.

use std::{
    convert::Infallible,
    future::pending,
    io,
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
    AdminListener, AdminState,
    budget::Budget,
    listener::{Listener, Stream},
    places::{Place, Places, Source},
    routes::answer,
    scrape::Scrape,
    served::Served,
    write_timeout::WriteTimeout,
};
use crate::join::join_by;

/// For a whole request head, and so also for an idle connection: between the scrapes of a usual
/// Prometheus (15 s) it stays open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// For the first request head of a connection.
const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// After this a connection is closed when it is between requests, so that nobody holds one by
/// reading or sending a byte at a time.
const LIFETIME: Duration = Duration::from_mins(5);

/// For the request that is under way when a connection is to end.
const GRACE: Duration = Duration::from_secs(1);

/// The least that hyper takes (8 KiB): our requests are a line and a few headers.
const HEAD_BYTES: usize = 8 * 1024;

/// Pause when descriptors or memory are short, as for the MQTT listeners.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The thread that answers. It ends when this is dropped.
pub struct AdminThread {
    stop: Option<mpsc::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminThread {
    /// Starts it: a thread and an event loop of its own, so that it answers whatever the workers and
    /// the control thread are at.
    pub fn start(listener: AdminListener, state: AdminState) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, mut stopped) = mpsc::channel(1);
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Err(error) = serve(listener, state, async { _ = stopped.recv().await }).await
                {
                    tracing::error!(%error, "the admin listener has failed");
                }
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        self.stop.take();
        // It takes `GRACE`.
        let deadline = Instant::now() + 2 * GRACE;
        if let Some(Err(error)) = self.thread.take().map(|thread| join_by(thread, deadline)) {
            tracing::error!("the admin thread {error}");
        }
    }
}

/// Serves until `shutdown` is ready, and then lets requests that are under way end.
pub(super) async fn serve(
    listener: AdminListener,
    state: AdminState,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (listener, _file) = listener.into_async()?;
    let served = Arc::new(Served { state, scrape: Scrape::default(), budget: Budget::new() });
    let (open, closing) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(listener, &served, &closing, &mut connections) => {}
        () = shutdown => {}
    }
    drop(open);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let _ = time::timeout(GRACE, all_ended).await;
    Ok(())
}

async fn accept(
    listener: Listener,
    served: &Arc<Served>,
    closing: &watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) {
    let places = Places::new(served.state.connections);
    loop {
        let (served, closing) = (served.clone(), closing.clone());
        match listener.accept().await {
            Ok((stream, peer)) => {
                let place = places.take(Source::of(peer)).await;
                match stream {
                    Stream::Tcp(stream) => {
                        connections.spawn(connection(stream, true, served, closing, place));
                    }
                    Stream::Unix(stream) => {
                        connections.spawn(connection(stream, false, served, closing, place));
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "admin: accept failed");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One HTTP/1.1 connection.
async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    by_tcp: bool,
    served: Arc<Served>,
    mut closing: watch::Receiver<()>,
    place: Arc<Place>,
) {
    let has_asked = AtomicBool::new(false);
    let service = service_fn(async |request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let answer = answer(request, by_tcp, &served, &place).await;
        place.answered();
        Ok::<_, Infallible>(answer)
    });
    let mut http = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(WriteTimeout::new(stream)), service)
    );
    tokio::select! {
        // Errors are the client's: it sent no HTTP, was too slow, or left.
        _ = http.as_mut() => return,
        () = place.wanted() => return,
        () = asks_nothing(&has_asked) => return,
        // The sender is dropped when the listener ends.
        _ = closing.changed() => {}
        () = time::sleep(LIFETIME) => {}
    }
    http.as_mut().graceful_shutdown();
    let _ = time::timeout(GRACE, http).await;
}

/// Ends if the first request has not come in time.
async fn asks_nothing(has_asked: &AtomicBool) {
    time::sleep(FIRST_HEAD_TIMEOUT).await;
    if has_asked.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}
