//! The accept loop. Nothing makes it stop, and nothing makes it spin.

use std::{io, rc::Rc, time::Duration};

use rustix::io::Errno;
use tokio::task::yield_now;

use super::listeners::WorkerListener;
use crate::{metrics::AcceptError, net::sleep, session::WorkerContext};

/// The most that are taken from the queue of a listener that closes: more than the kernel holds
/// (`net.core.somaxconn`).
const BACKLOG: usize = 4096;

/// How many of those are taken before the worker turns to others.
const AT_A_TIME: usize = 32;

/// How often a listener that closes waits for descriptors for those in its queue.
const SHORTAGE_PAUSES: u32 = 100;

/// How long a shortage is waited out: sessions end all the time, and each frees two descriptors.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Takes those who wait in the kernel's queue, which closing the socket would reset; then it is
/// closed. Once this is over, all of them are under way.
pub(super) async fn close(context: Rc<WorkerContext>, listener: Rc<WorkerListener>) {
    let mut pauses = 0;
    for taken in 1..=BACKLOG {
        match listener.acceptor.try_accept() {
            Ok((fd, peer)) => listener.serve(&context, fd, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                let kind = kind(&error);
                context.metrics().count_accept_error(kind);
                if kind != AcceptError::Aborted {
                    pauses += 1;
                    if pauses > SHORTAGE_PAUSES {
                        tracing::error!(
                            listener = %listener.name(), %error,
                            "cannot accept those who wait at a listener that closes"
                        );
                        break;
                    }
                    let _paused = Paused::new(&listener);
                    sleep(&context.reactor, SHORTAGE_PAUSE).await;
                }
            }
        }
        if taken % AT_A_TIME == 0 {
            yield_now().await;
        }
    }
    yield_now().await;
}

/// Accepts for as long as its task is kept.
pub(super) async fn accept(context: Rc<WorkerContext>, listener: Rc<WorkerListener>) {
    let acceptor = &listener.acceptor;
    let mut short = false;
    loop {
        // Behind an access log that can't be written, clients wait in the kernel's queue.
        if !context.log().has_room() {
            let _paused = Paused::new(&listener);
            context.log().room().await;
        }
        let error = match acceptor.accept().await {
            Ok((fd, peer)) => {
                short = false;
                listener.serve(&context, fd, peer);
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
                "cannot accept; trying again every {} ms. If it lasts, raise the descriptor limit \
                 (LimitNOFILE, ulimit -n) or lower limits.max_connections",
                SHORTAGE_PAUSE.as_millis(),
            );
        }
        let _paused = Paused::new(&listener);
        sleep(&context.reactor, SHORTAGE_PAUSE).await;
    }
}

/// A listener that does not wake its worker, for as long as this is kept: one that did, and was not
/// accepted from, would wake it over and over.
struct Paused<'a>(&'a WorkerListener);

impl<'a> Paused<'a> {
    fn new(listener: &'a WorkerListener) -> Self {
        // Where the kernel refuses, the worker is busy for a while, and no more.
        let _ = listener.acceptor.pause(true);
        Self(listener)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.acceptor.pause(false) {
            tracing::error!(listener = %self.0.name(), %error, "cannot take up accepting again");
        }
    }
}

/// What became of a connection that was not accepted, as `accept(2)` lists it.
fn kind(error: &io::Error) -> AcceptError {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => AcceptError::ProcessDescriptors,
        Some(Errno::NFILE) => AcceptError::SystemDescriptors,
        Some(Errno::NOBUFS | Errno::NOMEM) => AcceptError::Memory,
        // The client left before its turn, or the network failed for it alone; a firewall's EPERM too.
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
