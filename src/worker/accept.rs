//! The accept loop. No error ends it or makes it spin.

use std::{io, rc::Rc, time::Duration};

use rustix::io::Errno;
use tokio::task::yield_now;

use super::listener::{PausedListener, WorkerListener};
use crate::{metrics::AcceptError, net::sleep, session::WorkerContext};

/// The maximum number of connections accepted from the queue of a closing listener: as many as the
/// kernel queues (`net.core.somaxconn`).
const MAX_BACKLOG: usize = 4096;

/// How many of these are accepted before other tasks run.
const ACCEPTS_PER_YIELD: usize = 32;

/// How many more connections that are refused for their address are taken in one turn: with the
/// first some 60 µs of work, which is what a flood adds to the delay of a message. Of others, a
/// turn takes one.
const MAX_REFUSALS_PER_TURN: usize = 3;

/// How many times a closing listener waits for descriptors to accept its queue.
const MAX_SHORTAGE_PAUSES: u32 = 100;

/// The pause after a shortage of descriptors: sessions end all the time, and each frees two.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Accepts the connections in the kernel's queue, which would be reset when the socket is closed.
/// On return, the tasks of all of them have started.
pub(super) async fn close(context: Rc<WorkerContext>, listener: Rc<WorkerListener>) {
    if listener.acceptor.is_stopped() {
        // Another process accepts them.
        return;
    }
    let mut pauses = 0;
    for taken in 1..=MAX_BACKLOG {
        match listener.acceptor.try_accept() {
            Ok((fd, peer)) => drop(listener.serve(&context, fd, peer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                let kind = kind(&error);
                context.metrics().count_accept_error(kind);
                if kind != AcceptError::Aborted {
                    pauses += 1;
                    if pauses > MAX_SHORTAGE_PAUSES {
                        tracing::error!(
                            listener = %listener.name(), %error,
                            "closing a listener: cannot accept the connections left in its queue"
                        );
                        break;
                    }
                    let _paused = PausedListener::new(&listener);
                    sleep(&context.reactor, SHORTAGE_PAUSE).await;
                }
            }
        }
        if taken % ACCEPTS_PER_YIELD == 0 {
            yield_now().await;
        }
    }
    yield_now().await;
}

/// Accepts until its task is aborted.
pub(super) async fn accept(context: Rc<WorkerContext>, listener: Rc<WorkerListener>) {
    let acceptor = &listener.acceptor;
    let mut short = false;
    loop {
        // While the access log cannot be written, clients wait in the kernel's queue.
        if !context.log().has_room() {
            let _paused = PausedListener::new(&listener);
            context.log().wait_for_room().await;
        }
        let error = match acceptor.accept().await {
            Ok((fd, peer)) => {
                short = false;
                let is_served = listener.serve(&context, fd, peer);
                if !is_served {
                    refuse_more(&context, &listener);
                }
                continue;
            }
            Err(error) => error,
        };
        let kind = kind(&error);
        context.metrics().count_accept_error(kind);
        if kind == AcceptError::Aborted {
            continue;
        }
        if !short {
            short = true;
            tracing::warn!(
                listener = %listener.name(), %error,
                "cannot accept; retrying every {} ms. If this persists, raise the descriptor limit \
                 (LimitNOFILE, ulimit -n) or lower limits.max_connections",
                SHORTAGE_PAUSE.as_millis(),
            );
        }
        let _paused = PausedListener::new(&listener);
        sleep(&context.reactor, SHORTAGE_PAUSE).await;
    }
}

/// Takes more connections of a flood while they are refused: each costs far less than a turn.
fn refuse_more(context: &Rc<WorkerContext>, listener: &WorkerListener) {
    for _ in 0..MAX_REFUSALS_PER_TURN {
        // An error is seen by the next accept as well.
        let Ok((fd, peer)) = listener.acceptor.try_accept() else { return };
        if listener.serve(context, fd, peer) || !context.log().has_room() {
            return;
        }
    }
}

/// The kind of an error of `accept(2)`.
fn kind(error: &io::Error) -> AcceptError {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => AcceptError::ProcessDescriptors,
        Some(Errno::NFILE) => AcceptError::SystemDescriptors,
        Some(Errno::NOBUFS | Errno::NOMEM) => AcceptError::Memory,
        // The client left before it was accepted, or the network failed for this client alone;
        // EPERM from a firewall counts as well.
        Some(
            Errno::CONNABORTED
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::TIMEDOUT,
        ) => AcceptError::Aborted,
        _ => AcceptError::Other,
    }
}
