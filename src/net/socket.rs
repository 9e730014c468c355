//! Nonblocking sockets on a worker's [`Reactor`].

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    task::{Context, Poll},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll::EventFlags, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    net::{self, RecvFlags, SendFlags, Shutdown, SocketFlags, sockopt},
};

use super::{
    buffer::LayerBuffers,
    reactor::Reactor,
    readiness::{Readiness, SocketToken},
    tcp_options::TcpOptions,
    turn::TurnBudget,
};

/// A connected, or connecting, stream socket.
pub(crate) struct Socket {
    fd: OwnedFd,
    token: SocketToken,
    reactor: Rc<Reactor>,
}

impl Socket {
    /// Registers an accepted socket. It is assumed to be readable: an MQTT client speaks first, and
    /// its CONNECT has often arrived already.
    pub(crate) fn accepted(reactor: &Rc<Reactor>, fd: OwnedFd) -> io::Result<Self> {
        Self::register(reactor, fd, Readiness::READ_WRITE)
    }

    /// Takes a socket that is [connecting](super::start_connect). The connection is established, or
    /// has failed, when [`Socket::try_send`] says so.
    pub(crate) fn connecting(reactor: &Rc<Reactor>, fd: OwnedFd) -> io::Result<Self> {
        Self::register(reactor, fd, Readiness::NONE)
    }

    /// Registers a connected stream socket that another process has handed over. What that process
    /// knew of its readiness is lost, so it is assumed to be readable and writable.
    ///
    /// # Errors
    /// The descriptor is not that of a connected stream socket, or cannot be registered.
    pub(crate) fn moved(reactor: &Rc<Reactor>, fd: OwnedFd) -> io::Result<Self> {
        let is_stream = sockopt::socket_type(&fd)? == net::SocketType::STREAM;
        if !is_stream || sockopt::socket_acceptconn(&fd)? {
            return Err(io::Error::other("it is not the socket of a connection"));
        }
        let flags = fcntl_getfl(&fd)?;
        if !flags.contains(OFlags::NONBLOCK) {
            fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        }
        Self::register(reactor, fd, Readiness::READ_WRITE)
    }

    /// Another descriptor of the same socket.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Stops the events of a socket that another process may still use. To be called right before
    /// the socket is dropped.
    pub(super) fn leave_reactor(&self) {
        self.reactor.stop_events(&self.fd);
    }

    fn register(reactor: &Rc<Reactor>, fd: OwnedFd, ready: Readiness) -> io::Result<Self> {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let token = reactor.register(&fd, interest, ready)?;
        Ok(Self { fd, token, reactor: reactor.clone() })
    }

    /// Reads what has arrived; 0 at the end of the peer's stream. A read that does not fill `buf`
    /// has emptied the socket, so no second call is needed to find that out.
    ///
    /// Pending: the task that [watches](Self::watch) this socket is woken when there is more.
    pub(crate) fn try_recv(&self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let ready = self.reactor.ready(self.token);
        if !ready.has(Readiness::READ) {
            return Poll::Pending;
        }
        #[cfg(test)]
        if let Some(fault) = self.reactor.faults.of_next_call(self.token) {
            return fault;
        }
        match retry(|| net::recv(&self.fd, &mut *buf, RecvFlags::empty())) {
            Ok((n, _)) => {
                if n > 0 && n < buf.len() && !ready.has(Readiness::ENDED) {
                    self.reactor.clear(self.token, Readiness::READ);
                }
                Poll::Ready(Ok(n))
            }
            Err(error) => self.would_block(error, Readiness::READ),
        }
    }

    /// Writes as much of `buf` as the kernel takes. A socket that is still connecting is pending
    /// until it is connected, or fails with the error of the connect. Pending as in
    /// [`Self::try_recv`].
    pub(crate) fn try_send(&self, buf: &[u8]) -> Poll<io::Result<usize>> {
        // NOSIGNAL: if the peer is gone, this call fails, and the process gets no SIGPIPE.
        self.try_send_with(buf, SendFlags::NOSIGNAL)
    }

    /// [`Self::try_send`] for bytes that a shutdown follows at once: both go in one segment.
    pub(super) fn try_send_last(&self, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.try_send_with(buf, SendFlags::NOSIGNAL | SendFlags::MORE)
    }

    fn try_send_with(&self, buf: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        if !self.reactor.ready(self.token).has(Readiness::WRITE) {
            return Poll::Pending;
        }
        #[cfg(test)]
        if let Some(fault) = self.reactor.faults.of_next_call(self.token) {
            return fault;
        }
        match retry(|| net::send(&self.fd, buf, flags)) {
            Ok(n) => {
                if n < buf.len() {
                    self.reactor.clear(self.token, Readiness::WRITE);
                }
                Poll::Ready(Ok(n))
            }
            Err(error) => self.would_block(error, Readiness::WRITE),
        }
    }

    /// Runs a transfer inside the kernel (splice) that reads from or writes to this socket.
    pub(super) fn try_transfer(
        &self,
        what: Readiness,
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

    fn would_block<T>(&self, error: rustix::io::Errno, what: Readiness) -> Poll<io::Result<T>> {
        if error == rustix::io::Errno::AGAIN {
            self.reactor.clear(self.token, what);
            return Poll::Pending;
        }
        Poll::Ready(Err(error.into()))
    }

    /// Wakes `cx` at every event from now on, until another task watches.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        self.reactor.watch(self.token, cx);
    }

    /// Whether a read may return something other than pending.
    pub(super) fn may_recv(&self) -> bool {
        self.reactor.ready(self.token).has(Readiness::READ)
    }

    /// Lets the next read ask the kernel, for bytes that may have come since its last report.
    pub(super) fn assume_readable(&self) {
        self.reactor.assume_readable(self.token);
    }

    /// The reactor that the socket is registered with.
    pub(super) fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    #[cfg(test)]
    pub(super) fn token(&self) -> SocketToken {
        self.token
    }

    /// The budget of the worker's present turn.
    pub(super) fn turn(&self) -> &TurnBudget {
        &self.reactor.turn
    }

    /// The worker's buffers for the layers over its sockets.
    pub(super) fn buffers(&self) -> &LayerBuffers {
        &self.reactor.buffers
    }

    /// The local address; `None` on a unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        net::getsockname(&self.fd).ok()?.try_into().ok()
    }

    pub(crate) fn is_unix(&self) -> bool {
        self.local_address().is_none()
    }

    /// Whether the connection is established.
    pub(crate) fn is_connected(&self) -> bool {
        net::getpeername(&self.fd).is_ok()
    }

    /// Whether the connection has broken, as far as the kernel has reported. A peer that has only
    /// ended its side may still read.
    pub(crate) fn is_broken(&self) -> bool {
        self.reactor.ready(self.token).has(Readiness::BROKEN)
    }

    /// Whether the peer has ended its side. Asks the kernel, since the reactor learns it only in
    /// its next turn.
    pub(crate) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::RDHUP)];
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        retry(|| poll(&mut fds, Some(&Timespec::default()))).is_ok()
            && fds[0].revents().intersects(ended)
    }

    /// Wakes the task that watches this socket.
    pub(crate) fn wake(&self) {
        self.reactor.wake(self.token);
    }

    /// Enables keep-alive and the user timeout; does nothing on a unix socket.
    pub(crate) fn set_options(&self, options: TcpOptions) {
        // Fails only on a socket that is already broken, where there is nothing left to detect.
        let _ = options.apply(&self.fd);
    }

    /// Acknowledges at once what has been received; does nothing on a unix socket.
    pub(crate) fn acknowledge(&self) {
        // Fails only where nothing waits to be acknowledged.
        let _ = sockopt::set_tcp_quickack(&self.fd, true);
    }

    /// Ends our side of the stream: the peer reads an end of file.
    pub(crate) fn shutdown(&self) {
        // Fails only if the connection is gone already, which the next read reports.
        let _ = net::shutdown(&self.fd, Shutdown::Write);
    }

    /// Makes the next close send a reset, which tells the peer that the stream is incomplete.
    pub(crate) fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(&self.fd, Some(std::time::Duration::ZERO));
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reactor.forget(self.token);
    }
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

/// Closes a connection by a reset.
pub(crate) fn reset(fd: OwnedFd) {
    // Fails only if the connection is gone already.
    let _ = sockopt::set_socket_linger(&fd, Some(std::time::Duration::ZERO));
    drop(fd);
}

/// Disables Nagle's algorithm: MQTT packets are small and must not be delayed.
pub(crate) fn no_delay(fd: impl AsFd) -> rustix::io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)
}
