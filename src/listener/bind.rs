//! Listening sockets: one a worker for TCP, so that the kernel spreads the connections.

use std::{
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::inherited::InheritedSocket;
use crate::{
    config::{self, Bind},
    net::{TcpOptions, no_delay, remove_stale},
};

/// Connections the kernel holds for us while we are busy; it lowers this to net.core.somaxconn.
pub(super) const BACKLOG: i32 = 4096;

/// A listener of the configuration, bound.
#[derive(Debug)]
pub struct BoundListener {
    /// The address in force: with its port where the configuration said 0.
    pub bind: Bind,
    /// One socket for each worker.
    pub sockets: Vec<OwnedFd>,
    /// The inherited socket that these are copies of: somebody else bound it, and holds it too.
    pub(super) inherited: Option<Arc<InheritedSocket>>,
    pub(super) file: Option<UnixSocketFile>,
}

/// The file of a unix socket, which goes with it.
#[derive(Debug)]
pub(super) struct UnixSocketFile(PathBuf);

impl Drop for UnixSocketFile {
    fn drop(&mut self) {
        // What cannot be removed now, the next start finds stale and removes.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A listener that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: cannot listen on {address}: {error}{hint}")]
pub struct BindError {
    listener: Arc<str>,
    address: String,
    error: io::Error,
    hint: &'static str,
}

/// Binds `listener` for so many workers.
pub fn bind(
    listener: &config::Listener,
    workers: usize,
    options: TcpOptions,
) -> Result<BoundListener, BindError> {
    let bound = match &listener.bind {
        Bind::Tcp(address) => bind_tcp(*address, workers, options)
            .map(|(address, sockets)| (Bind::Tcp(address), sockets)),
        Bind::Unix(path) => {
            bind_unix(path, workers).map(|sockets| (Bind::Unix(path.clone()), sockets))
        }
    };
    let (bind, sockets) = bound.map_err(|error| BindError::new(listener, &listener.bind, error))?;
    let file = match &bind {
        Bind::Unix(path) => Some(UnixSocketFile(path.clone())),
        Bind::Tcp(_) => None,
    };
    Ok(BoundListener { bind, sockets, inherited: None, file })
}

impl BindError {
    pub(super) fn new(listener: &config::Listener, address: &Bind, error: io::Error) -> Self {
        Self {
            listener: listener.name.clone(),
            address: address.to_string(),
            hint: hint(&error),
            error,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; stop what listens there (see `ss -ltnp`) or choose another",
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

fn bind_tcp(
    address: SocketAddr,
    workers: usize,
    options: TcpOptions,
) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    // SO_REUSEPORT would let a second proxy, started by mistake, take half of the connections. A
    // first socket without it finds out whether the address is free.
    let probe = open(address, false)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    if workers > 1 {
        drop(probe);
        let sockets = (0..workers)
            .map(|_| listen(open(address, true)?, options))
            .collect::<io::Result<Vec<_>>>()?;
        return Ok((address, sockets));
    }
    Ok((address, vec![listen(probe, options)?]))
}

fn open(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without it, connections of the last run in TIME_WAIT would keep the port for a minute.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(socket: Socket, options: TcpOptions) -> io::Result<OwnedFd> {
    // What is set here, every accepted socket inherits.
    no_delay(&socket)?;
    options.apply(&socket)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, workers: usize) -> io::Result<Vec<OwnedFd>> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    // There is no SO_REUSEPORT for unix sockets: the workers share one queue.
    (0..workers).map(|_| Ok(listener.try_clone()?.into())).collect()
}

impl BoundListener {
    /// The inherited socket that these are copies of, if they are.
    pub fn inherited(&self) -> Option<&Arc<InheritedSocket>> {
        self.inherited.as_ref()
    }
}
