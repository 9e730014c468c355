//! Listening sockets on a worker's [`Reactor`], and who connects to them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    rc::Rc,
    task::Poll,
};

use rustix::{event::epoll::EventFlags, net};

use super::{
    reactor::{Reactor, Ready, Token},
    socket::{NONBLOCKING, retry},
    tcp_options::TcpOptions,
};

/// A listening socket.
pub struct Acceptor {
    fd: OwnedFd,
    token: Token,
    reactor: Rc<Reactor>,
}

impl Acceptor {
    /// Takes a nonblocking listening socket.
    pub fn new(reactor: &Rc<Reactor>, fd: OwnedFd) -> io::Result<Self> {
        // Level-triggered: one connection a turn, so that a storm of them starves no session.
        let token = reactor.register(&fd, Self::INTEREST, Ready::NONE)?;
        Ok(Self { fd, token, reactor: reactor.clone() })
    }

    const INTEREST: EventFlags = EventFlags::IN;

    /// Leaves connections in the kernel's queue, or takes them again. Without this, a shortage of
    /// descriptors would wake the worker at once, over and over.
    pub fn pause(&self, pause: bool) -> io::Result<()> {
        let interest = if pause { EventFlags::empty() } else { Self::INTEREST };
        self.reactor.set_interest(&self.fd, self.token, interest)
    }

    /// What is set here, every accepted socket inherits.
    pub fn set_options(&self, options: TcpOptions) {
        // Fails only on a unix socket, which has none.
        let _ = options.apply(&self.fd);
    }

    /// Takes a connection that waits in the kernel's queue, if one does.
    pub fn try_accept(&self) -> io::Result<(OwnedFd, Peer)> {
        let (fd, peer) = retry(|| net::acceptfrom_with(&self.fd, NONBLOCKING))?;
        Ok((fd, Peer::new(peer)))
    }

    /// Waits for a connection and takes it.
    pub async fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        std::future::poll_fn(|cx| {
            self.reactor.watch(self.token, cx);
            if !self.reactor.ready(self.token).has(Ready::READ) {
                return Poll::Pending;
            }
            self.reactor.clear(self.token, Ready::READ);
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
        // A service manager, or another worker, may have the same socket.
        self.reactor.remove(&self.fd, self.token);
    }
}

/// Who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    Ip(SocketAddr),
    /// A process of this machine; unix sockets carry no address worth the name.
    Unix,
}

impl Peer {
    fn new(address: Option<net::SocketAddrAny>) -> Self {
        match address.and_then(|address| SocketAddr::try_from(address).ok()) {
            // A client of a dual-stack socket is the IPv4 host that it is.
            Some(address) => Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port())),
            None => Self::Unix,
        }
    }

    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix => None,
        }
    }

    /// The address to count and hash by.
    pub fn ip(self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }
}
