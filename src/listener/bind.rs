//! Listening sockets; for TCP one per worker, so that the kernel distributes the connections.

use std::{
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    bind_error::BindError,
    bound::{BACKLOG, BoundListener, UnixSocketFile},
};
use crate::{
    config::{self, Bind},
    net::{TcpOptions, no_delay, remove_stale},
};

/// Binds `listener` for `workers` workers.
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
        Bind::Unix(path) => Some(UnixSocketFile::new(path.clone())),
        Bind::Tcp(_) => None,
    };
    Ok(BoundListener { bind, sockets, inherited: None, file })
}

fn bind_tcp(
    address: SocketAddr,
    workers: usize,
    options: TcpOptions,
) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    // With SO_REUSEPORT alone, a second proxy started by mistake would receive half of the
    // connections. A first socket without that option shows whether the address is free.
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
    // Otherwise, connections of the previous run in TIME_WAIT would block the port for a minute.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(socket: Socket, options: TcpOptions) -> io::Result<OwnedFd> {
    // Accepted sockets inherit these options.
    no_delay(&socket)?;
    options.apply(&socket)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, workers: usize) -> io::Result<Vec<OwnedFd>> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    // Unix sockets do not support SO_REUSEPORT, so the workers share one queue.
    (0..workers).map(|_| Ok(listener.try_clone()?.into())).collect()
}
