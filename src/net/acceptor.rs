//! Listening sockets on a worker's [`Reactor`], and the peers that connect to them.

use std::{
    cell::Cell,
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
    is_paused: Cell<bool>,
    is_stopped: Cell<bool>,
}

impl Acceptor {
    /// Registers a nonblocking listening socket. `stopped`: as after [`Self::stop`].
    pub(crate) fn new(reactor: &Rc<Reactor>, fd: OwnedFd, stopped: bool) -> io::Result<Self> {
        // Level-triggered: one connection per turn, so that a connect storm starves no session.
        let interest = if stopped { EventFlags::empty() } else { Self::INTEREST };
        let token = reactor.register(&fd, interest, Readiness::NONE)?;
        let (is_paused, is_stopped) = (Cell::new(false), Cell::new(stopped));
        Ok(Self { fd, token, reactor: reactor.clone(), is_paused, is_stopped })
    }

    const INTEREST: EventFlags = EventFlags::IN;

    /// Pauses or resumes taking connections from the kernel's queue. Without a pause, a shortage of
    /// descriptors would wake the worker continuously.
    pub(crate) fn pause(&self, pause: bool) -> io::Result<()> {
        self.is_paused.set(pause);
        self.update_interest()
    }

    /// Leaves the kernel's queue to another process that has the same socket, or takes it back.
    pub(crate) fn stop(&self, stop: bool) -> io::Result<()> {
        self.is_stopped.set(stop);
        self.update_interest()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.get()
    }

    /// Duplicates the socket's descriptor.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    fn update_interest(&self) -> io::Result<()> {
        let is_idle = self.is_paused.get() || self.is_stopped.get();
        let interest = if is_idle { EventFlags::empty() } else { Self::INTEREST };
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
            if self.is_stopped.get() || !self.reactor.ready(self.token).has(Readiness::READ) {
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
