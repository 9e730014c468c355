//! Listening sockets on a worker's [`Reactor`], and the peers that connect to them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    rc::Rc,
    task::Poll,
};

use rustix::{event::epoll::EventFlags, net};

use super::{
    reactor::Reactor,
    readiness::{Readiness, SocketToken},
    socket::{NONBLOCKING, retry},
    tcp_options::TcpOptions,
};

/// A listening socket.
pub(crate) struct Acceptor {
    fd: OwnedFd,
    token: SocketToken,
    reactor: Rc<Reactor>,
}

impl Acceptor {
    /// Registers a nonblocking listening socket.
    pub(crate) fn new(reactor: &Rc<Reactor>, fd: OwnedFd) -> io::Result<Self> {
        // Level-triggered: one connection per turn, so that a connect storm starves no session.
        let token = reactor.register(&fd, Self::INTEREST, Readiness::NONE)?;
        Ok(Self { fd, token, reactor: reactor.clone() })
    }

    const INTEREST: EventFlags = EventFlags::IN;

    /// Stops or resumes taking connections from the kernel's queue. Without a pause, a shortage of
    /// descriptors would wake the worker continuously.
    pub(crate) fn pause(&self, pause: bool) -> io::Result<()> {
        let interest = if pause { EventFlags::empty() } else { Self::INTEREST };
        self.reactor.set_interest(&self.fd, self.token, interest)
    }

    /// Sets options that every accepted socket inherits.
    pub(crate) fn set_options(&self, options: TcpOptions) {
        // Fails only on a unix socket, which does not have these options.
        let _ = options.apply(&self.fd);
    }

    /// Takes a connection from the kernel's queue.
    ///
    /// # Errors
    /// `WouldBlock` if the queue is empty, else as accept(2).
    pub(crate) fn try_accept(&self) -> io::Result<(OwnedFd, PeerAddress)> {
        let (fd, peer) = retry(|| net::acceptfrom_with(&self.fd, NONBLOCKING))?;
        Ok((fd, PeerAddress::new(peer)))
    }

    /// Waits for a connection and takes it.
    pub(crate) async fn accept(&self) -> io::Result<(OwnedFd, PeerAddress)> {
        std::future::poll_fn(|cx| {
            self.reactor.watch(self.token, cx);
            if !self.reactor.ready(self.token).has(Readiness::READ) {
                return Poll::Pending;
            }
            self.reactor.clear(self.token, Readiness::READ);
            match self.try_accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                accepted => Poll::Ready(accepted),
            }
        })
        .await
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // A service manager or another worker may hold the same socket.
        self.reactor.remove(&self.fd, self.token);
    }
}

/// The peer of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) enum PeerAddress {
    Ip(SocketAddr),
    /// A process of this host; clients of unix sockets have no usable address.
    Unix,
}

impl PeerAddress {
    fn new(address: Option<net::SocketAddrAny>) -> Self {
        match address.and_then(|address| SocketAddr::try_from(address).ok()) {
            // A dual-stack socket shows IPv4 clients as IPv4-mapped IPv6 addresses.
            Some(address) => Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port())),
            None => Self::Unix,
        }
    }

    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix => None,
        }
    }

    /// The address that limits and keys use.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }
}
