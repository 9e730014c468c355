//! The local address that a connection is made from.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketType},
};

use super::socket::{NONBLOCKING, no_delay};

/// Why a connection could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// All ports of the local address are in use for connections to that peer.
    #[error("no local port left")]
    NoPort,
    /// No interface has the local address.
    #[error("not an address of this host")]
    NotLocal,
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl ConnectError {
    /// Classifies an error of connect(2) on an IP socket.
    pub(crate) fn of_connect(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            // Older kernels return EAGAIN.
            Some(Errno::ADDRNOTAVAIL | Errno::AGAIN) => Self::NoPort,
            _ => Self::Failed(error),
        }
    }
}

/// Makes `socket` connect from `source`. The kernel chooses the port at connect(2), for that peer
/// only, while bind(2) would reserve it for all peers.
fn bind_source(socket: impl AsFd, source: IpAddr) -> Result<(), ConnectError> {
    // Without this option bind(2) chooses the port, and there are fewer of them.
    let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
    net::bind(socket, &SocketAddr::new(source, 0)).map_err(|error| match error {
        Errno::ADDRNOTAVAIL => ConnectError::NotLocal,
        Errno::ADDRINUSE => ConnectError::NoPort,
        error => ConnectError::Failed(error.into()),
    })
}

/// Starts connecting to an IP address, from `source` or from an address that the kernel chooses,
/// without waiting for the connection. The socket is nonblocking and has TCP_NODELAY set.
pub(crate) fn start_connect(
    source: Option<IpAddr>,
    to: SocketAddr,
) -> Result<OwnedFd, ConnectError> {
    let fd = net::socket_with(family(to.ip()), SocketType::STREAM, NONBLOCKING, None)
        .map_err(io::Error::from)?;
    no_delay(&fd).map_err(io::Error::from)?;
    if let Some(source) = source {
        bind_source(&fd, source)?;
    }
    in_progress(net::connect(&fd, &to)).map_err(ConnectError::of_connect)?;
    Ok(fd)
}

/// Starts connecting to a unix socket. The socket is nonblocking.
pub(crate) fn start_connect_unix(to: &Path) -> io::Result<OwnedFd> {
    let to = net::SocketAddrUnix::new(to)?;
    let fd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, NONBLOCKING, None)?;
    in_progress(net::connect(&fd, &to))?;
    Ok(fd)
}

fn in_progress(connected: rustix::io::Result<()>) -> io::Result<()> {
    match connected {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Checks that connections can be made from `source`.
///
/// # Errors
/// The reason why they cannot.
pub(crate) fn check_source(source: IpAddr) -> Result<(), ConnectError> {
    let socket = net::socket(family(source), SocketType::STREAM, None).map_err(io::Error::from)?;
    bind_source(socket, source)
}

fn family(of: IpAddr) -> AddressFamily {
    match of {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_port_is_chosen_at_connect() {
        for loopback in ["127.0.0.1", "::1"] {
            let source: IpAddr = loopback.parse().unwrap();
            let peer = TcpListener::bind((source, 0)).unwrap();
            let socket = net::socket(family(source), SocketType::STREAM, None).unwrap();
            bind_source(&socket, source).unwrap();
            let port = |socket: &OwnedFd| {
                SocketAddr::try_from(net::getsockname(socket).unwrap()).unwrap().port()
            };
            assert_eq!(port(&socket), 0, "{loopback}");
            net::connect(&socket, &peer.local_addr().unwrap()).unwrap();
            assert_ne!(port(&socket), 0);
        }
    }

    #[test]
    fn an_address_of_another_host() {
        // TEST-NET-1 and the documentation prefix: RFC 5737 and RFC 3849.
        for source in ["192.0.2.1", "2001:db8::1"] {
            let checked = check_source(source.parse().unwrap());
            assert!(matches!(checked, Err(ConnectError::NotLocal)), "{source}: {checked:?}");
        }
        for source in ["127.0.0.1", "127.0.0.2", "::1"] {
            check_source(source.parse().unwrap()).unwrap();
        }
    }
}
