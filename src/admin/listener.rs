//! The admin listener's socket.

use std::{
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    os::unix::{self, fs::FileTypeExt},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::Bind;

/// Why the admin listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("admin: cannot listen on {bind}: {error}; {}", advice(error.kind()))]
pub struct BindError {
    bind: String,
    error: io::Error,
}

/// The admin listener's socket; a unix socket's file is removed with it.
pub struct AdminListener(Inner);

enum Inner {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

/// An accepted connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AdminListener {
    /// Opens the socket. To be called inside the runtime that will serve it.
    ///
    /// A unix socket that a process left behind is replaced; one that is listened on is not.
    pub fn bind(bind: &Bind) -> Result<Self, BindError> {
        let (inner, bind) = match bind {
            Bind::Tcp(address) => (tcp(*address), address.to_string()),
            Bind::Unix(path) => (unix(path), format!("unix:{}", path.display())),
        };
        inner.map(Self).map_err(|error| BindError { bind, error })
    }

    /// The address that the system chose, for a bind to port 0; `None` for a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Inner::Tcp(listener) => listener.local_addr().ok(),
            Inner::Unix { .. } => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        Ok(match &self.0 {
            Inner::Tcp(listener) => Stream::Tcp(listener.accept().await?.0),
            Inner::Unix { listener, .. } => Stream::Unix(listener.accept().await?.0),
        })
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        if let Inner::Unix { path, .. } = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<Inner> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Inner::Tcp)
}

fn unix(path: &Path) -> io::Result<Inner> {
    remove_stale(path)?;
    let listener = unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(Inner::Unix { listener: UnixListener::from_std(listener)?, path: path.to_owned() })
}

/// Removes a socket on which nobody listens any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let is_refused = || {
        unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    if is_socket && is_refused() { fs::remove_file(path) } else { Ok(()) }
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
