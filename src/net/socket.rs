//! Nonblocking sockets on a worker's [`Reactor`].

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    rc::Rc,
    task::{Context, Poll},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll::EventFlags, poll},
    net::{self, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt},
};

use super::{
    buffer::Buffers,
    reactor::{Reactor, Ready, Token},
    source::{ConnectError, bind_source, family},
    tcp_options::TcpOptions,
    turn::TurnBudget,
};

/// A connected, or connecting, stream socket.
pub struct Socket {
    fd: OwnedFd,
    token: Token,
    reactor: Rc<Reactor>,
}

impl Socket {
    /// Takes an accepted socket. It is taken for readable: an MQTT client speaks first, and its
    /// CONNECT is often there already.
    pub fn accepted(reactor: &Rc<Reactor>, fd: OwnedFd) -> io::Result<Self> {
        Self::register(reactor, fd, Ready::READ_WRITE)
    }

    /// Starts connecting to an address of the Internet, from `source` or as the kernel chooses. The
    /// connection is there, or has failed, when [`Socket::try_send`] says so.
    pub fn connect(
        reactor: &Rc<Reactor>,
        source: Option<IpAddr>,
        to: SocketAddr,
    ) -> Result<Self, ConnectError> {
        let fd = net::socket_with(family(to.ip()), SocketType::STREAM, NONBLOCKING, None)
            .map_err(io::Error::from)?;
        no_delay(&fd).map_err(io::Error::from)?;
        if let Some(source) = source {
            bind_source(&fd, source)?;
        }
        Self::start(net::connect(&fd, &to)).map_err(ConnectError::of_connect)?;
        Ok(Self::register(reactor, fd, Ready::NONE)?)
    }

    /// Starts connecting to a unix socket.
    pub fn connect_unix(reactor: &Rc<Reactor>, to: &Path) -> io::Result<Self> {
        let to = net::SocketAddrUnix::new(to)?;
        let fd = net::socket_with(net::AddressFamily::UNIX, SocketType::STREAM, NONBLOCKING, None)?;
        Self::start(net::connect(&fd, &to))?;
        Self::register(reactor, fd, Ready::NONE)
    }

    fn start(connected: rustix::io::Result<()>) -> io::Result<()> {
        match connected {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn register(reactor: &Rc<Reactor>, fd: OwnedFd, ready: Ready) -> io::Result<Self> {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let token = reactor.register(&fd, interest, ready)?;
        Ok(Self { fd, token, reactor: reactor.clone() })
    }

    /// Reads what is there, 0 at the peer's end. A read that does not fill `buf` has emptied the
    /// socket, so that no second call has to find that out.
    ///
    /// Pending: the task that [watches](Self::watch) this socket is woken when there is more.
    pub fn try_recv(&self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let ready = self.reactor.ready(self.token);
        if !ready.has(Ready::READ) {
            return Poll::Pending;
        }
        #[cfg(test)]
        if let Some(fault) = self.reactor.faults.of_next_call(self.token) {
            return fault;
        }
        match retry(|| net::recv(&self.fd, &mut *buf, RecvFlags::empty())) {
            Ok((n, _)) => {
                if n > 0 && n < buf.len() && !ready.has(Ready::ENDED) {
                    self.reactor.clear(self.token, Ready::READ);
                }
                Poll::Ready(Ok(n))
            }
            Err(error) => self.would_block(error, Ready::READ),
        }
    }

    /// Writes what the kernel takes of `buf`. On a socket that is still connecting, waits for the
    /// connection, and fails as it failed. Pending as in [`Self::try_recv`].
    pub fn try_send(&self, buf: &[u8]) -> Poll<io::Result<usize>> {
        // NOSIGNAL: a peer that is gone is an error of this call, not a signal to the process.
        self.try_send_with(buf, SendFlags::NOSIGNAL)
    }

    /// [`Self::try_send`] for what the end of our side follows upon at once, in the same segment.
    pub(super) fn try_send_last(&self, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.try_send_with(buf, SendFlags::NOSIGNAL | SendFlags::MORE)
    }

    fn try_send_with(&self, buf: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        if !self.reactor.ready(self.token).has(Ready::WRITE) {
            return Poll::Pending;
        }
        #[cfg(test)]
        if let Some(fault) = self.reactor.faults.of_next_call(self.token) {
            return fault;
        }
        match retry(|| net::send(&self.fd, buf, flags)) {
            Ok(n) => {
                if n < buf.len() {
                    self.reactor.clear(self.token, Ready::WRITE);
                }
                Poll::Ready(Ok(n))
            }
            Err(error) => self.would_block(error, Ready::WRITE),
        }
    }

    /// Runs a transfer of the kernel's own (splice) that reads from or writes to this socket.
    pub(super) fn try_transfer(
        &self,
        what: Ready,
        mut transfer: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if !self.reactor.ready(self.token).has(what) {
            return Poll::Pending;
        }
        match retry(|| transfer(self.fd.as_fd())) {
            Ok(n) => Poll::Ready(Ok(n)),
            Err(error) => self.would_block(error, what),
        }
    }

    fn would_block<T>(&self, error: rustix::io::Errno, what: Ready) -> Poll<io::Result<T>> {
        if error == rustix::io::Errno::AGAIN {
            self.reactor.clear(self.token, what);
            return Poll::Pending;
        }
        Poll::Ready(Err(error.into()))
    }

    /// Has `cx` woken at every event from now on, until another task watches.
    pub fn watch(&self, cx: &Context<'_>) {
        self.reactor.watch(self.token, cx);
    }

    /// Whether a read may have something to say.
    pub(super) fn may_recv(&self) -> bool {
        self.reactor.ready(self.token).has(Ready::READ)
    }

    /// Whose events it has.
    pub(super) fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    #[cfg(test)]
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// What is left of the worker's turn.
    pub(super) fn turn(&self) -> &TurnBudget {
        &self.reactor.turn
    }

    /// The worker's buffers, which layers over this socket may use.
    pub(super) fn buffers(&self) -> &Buffers {
        &self.reactor.buffers
    }

    /// Our side's address; `None` on a unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        net::getsockname(&self.fd).ok()?.try_into().ok()
    }

    pub fn is_unix(&self) -> bool {
        self.local_address().is_none()
    }

    /// Whether the connection has come about.
    pub fn is_connected(&self) -> bool {
        net::getpeername(&self.fd).is_ok()
    }

    /// Whether the connection has broken, as far as the kernel has said. A peer that has merely
    /// ended its side may still want its answer.
    pub fn is_broken(&self) -> bool {
        self.reactor.ready(self.token).has(Ready::BROKEN)
    }

    /// Whether the peer has ended its side by now, of which the reactor would know from its next
    /// turn on.
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::RDHUP)];
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        retry(|| poll(&mut fds, Some(&Timespec::default()))).is_ok()
            && fds[0].revents().intersects(ended)
    }

    /// Wakes the task that watches this socket.
    pub fn wake(&self) {
        self.reactor.wake(self.token);
    }

    /// Enables keep-alive and the user timeout; does nothing on a unix socket.
    pub fn set_options(&self, options: TcpOptions) {
        // It is the peer's absence that these look for, and they are no use on a socket that knows
        // it already.
        let _ = options.apply(&self.fd);
    }

    /// Ends our side: the peer reads an end of file.
    pub fn shutdown(&self) {
        // Fails only when the connection is gone already, which the next read tells.
        let _ = net::shutdown(&self.fd, Shutdown::Write);
    }

    /// Has the coming close send a reset, so that the peer learns that the stream did not end well.
    pub fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(&self.fd, Some(std::time::Duration::ZERO));
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reactor.forget(self.token);
    }
}

impl Ready {
    const READ_WRITE: Self = Self::READ.and(Self::WRITE);
}

pub(super) const NONBLOCKING: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

pub(super) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            done => return done,
        }
    }
}

/// MQTT packets are small, and each is wanted now.
pub fn no_delay(fd: impl AsFd) -> rustix::io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)
}
