//! The admin listener's socket.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{self, IpAddr, SocketAddr},
    os::{
        fd::{AsFd, OwnedFd},
        unix,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::net::listen;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::{config::Bind, net::remove_stale};

/// Why the admin listener's socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("admin: cannot listen on {bind}: {error}; {}", advice(error.kind()))]
pub(crate) struct AdminBindError {
    bind: String,
    error: io::Error,
}

/// The admin listener's socket, bound but not served yet. Dropping it removes a unix socket's file.
pub(crate) struct AdminListener {
    socket: BoundSocket,
    file: Option<Arc<AdminSocketFile>>,
}

enum BoundSocket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

/// A unix socket's file, removed on drop by the process that owns it.
pub(super) struct AdminSocketFile {
    path: PathBuf,
    is_owned: AtomicBool,
}

/// The socket registered with the event loop.
pub(super) enum AsyncListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection.
pub(super) enum AdminStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The most connections that the kernel queues, so that a thousand scrapers at once need not retry.
/// The kernel limits it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

impl AdminListener {
    /// Binds the socket. A unix socket's file that no process listens on is replaced.
    ///
    /// # Errors
    /// If the address is in use or unavailable.
    pub(crate) fn bind(bind: &Bind) -> Result<Self, AdminBindError> {
        let bound = match bind {
            Bind::Tcp(address) => tcp(*address),
            Bind::Unix(path) => unix(path),
        };
        bound.map_err(|error| AdminBindError { bind: bind.to_string(), error })
    }

    /// The bound address, with the kernel's choice for port 0; `None` for a unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            BoundSocket::Tcp(listener) => listener.local_addr().ok(),
            BoundSocket::Unix(_) => None,
        }
    }

    /// Registers the socket with the event loop of the current runtime.
    pub(super) fn into_async(self) -> io::Result<AsyncListener> {
        Ok(match self.socket {
            BoundSocket::Tcp(listener) => AsyncListener::Tcp(TcpListener::from_std(listener)?),
            BoundSocket::Unix(listener) => AsyncListener::Unix(UnixListener::from_std(listener)?),
        })
    }

    /// Takes the socket of the process before an upgrade, bound to `bind`. A unix socket's file
    /// stays that process' until [`AdminSocketFile::set_owned`].
    pub(crate) fn handed(bind: &Bind, socket: OwnedFd) -> Self {
        match bind {
            Bind::Tcp(_) => Self { socket: BoundSocket::Tcp(socket.into()), file: None },
            Bind::Unix(path) => {
                let file = AdminSocketFile { path: path.clone(), is_owned: AtomicBool::new(false) };
                Self { socket: BoundSocket::Unix(socket.into()), file: Some(Arc::new(file)) }
            }
        }
    }

    /// Duplicates the socket's descriptor.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            BoundSocket::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            BoundSocket::Unix(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    pub(super) fn file(&self) -> Option<Arc<AdminSocketFile>> {
        self.file.clone()
    }
}

impl AdminSocketFile {
    /// Whether this process removes the file.
    pub(super) fn set_owned(&self, is_owned: bool) {
        self.is_owned.store(is_owned, Ordering::Relaxed);
    }
}

impl AsyncListener {
    /// Accepts a connection; the address is the peer's, `None` on a unix socket.
    pub(super) async fn accept(&self) -> io::Result<(AdminStream, Option<IpAddr>)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (AdminStream::Tcp(stream), Some(peer.ip()))
            }
            Self::Unix(listener) => (AdminStream::Unix(listener.accept().await?.0), None),
        })
    }
}

impl Drop for AdminSocketFile {
    fn drop(&mut self) {
        if *self.is_owned.get_mut() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<AdminListener> {
    let listener = net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    listen(&listener, BACKLOG)?;
    Ok(AdminListener { socket: BoundSocket::Tcp(listener), file: None })
}

fn unix(path: &Path) -> io::Result<AdminListener> {
    remove_stale(path)?;
    let listener = unix::net::UnixListener::bind(path)?;
    let file = AdminSocketFile { path: path.to_owned(), is_owned: AtomicBool::new(true) };
    listener.set_nonblocking(true)?;
    listen(&listener, BACKLOG)?;
    Ok(AdminListener { socket: BoundSocket::Unix(listener), file: Some(Arc::new(file)) })
}

/// Advice for the operator.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => "stop the process that uses it, or change `admin.bind`",
        ErrorKind::AddrNotAvailable => "no interface of this host has that address",
        ErrorKind::PermissionDenied => {
            "a port below 1024 needs CAP_NET_BIND_SERVICE, a unix socket a writable directory"
        }
        ErrorKind::NotFound => "create the directory first",
        _ => "change `admin.bind`",
    }
}
