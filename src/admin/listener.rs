//! The admin listener's socket.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{self, IpAddr, SocketAddr},
    os::unix,
    path::{Path, PathBuf},
};

use rustix::net::listen;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::{config::Bind, net::remove_stale};

/// Why the admin listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("admin: cannot listen on {bind}: {error}; {}", advice(error.kind()))]
pub struct BindError {
    bind: String,
    error: io::Error,
}

/// The admin listener's socket, open but not served yet; a unix socket's file is removed with it.
pub struct AdminListener {
    socket: Socket,
    file: Option<SocketFile>,
}

enum Socket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

/// Removed when it is dropped.
pub(super) struct SocketFile(PathBuf);

/// The socket as an event loop has it.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Connections that the kernel holds for us, so that none of a thousand scrapers has to knock
/// twice; it lowers this to net.core.somaxconn.
const BACKLOG: i32 = 4096;

impl AdminListener {
    /// Opens the socket.
    ///
    /// A unix socket that a process left behind is replaced; one that is listened on is not.
    pub fn bind(bind: &Bind) -> Result<Self, BindError> {
        let bound = match bind {
            Bind::Tcp(address) => tcp(*address),
            Bind::Unix(path) => unix(path),
        };
        bound.map_err(|error| BindError { bind: bind.to_string(), error })
    }

    /// The address that the system chose, for a bind to port 0; `None` for a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// To be called inside the runtime that will serve it.
    pub(super) fn into_async(self) -> io::Result<(Listener, Option<SocketFile>)> {
        let listener = match self.socket {
            Socket::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            Socket::Unix(listener) => Listener::Unix(UnixListener::from_std(listener)?),
        };
        Ok((listener, self.file))
    }
}

impl Listener {
    /// A connection, and the peer's address over TCP.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (Stream::Tcp(stream), Some(peer.ip()))
            }
            Self::Unix(listener) => (Stream::Unix(listener.accept().await?.0), None),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn tcp(address: SocketAddr) -> io::Result<AdminListener> {
    let listener = net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    listen(&listener, BACKLOG)?;
    Ok(AdminListener { socket: Socket::Tcp(listener), file: None })
}

fn unix(path: &Path) -> io::Result<AdminListener> {
    remove_stale(path)?;
    let listener = unix::net::UnixListener::bind(path)?;
    let file = Some(SocketFile(path.to_owned()));
    listener.set_nonblocking(true)?;
    listen(&listener, BACKLOG)?;
    Ok(AdminListener { socket: Socket::Unix(listener), file })
}

/// What an operator can do about it.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => "stop the process that has it, or choose another `admin.bind`",
        ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        ErrorKind::PermissionDenied => {
            "a port below 1024 needs CAP_NET_BIND_SERVICE, a unix socket a writable directory"
        }
        ErrorKind::NotFound => "the directory has to exist",
        _ => "change `admin.bind`",
    }
}
