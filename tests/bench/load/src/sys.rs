//! The system calls of the rig, as thin functions over `libc`: the standard library's sockets make more calls than are needed.

use std::{
    io::{self, ErrorKind, IoSlice},
    mem,
    net::SocketAddrV4,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use libc::{c_int, c_void};

pub const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;
/// The peer sends no more, or the connection is dead.
pub const HANGUP: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
pub const EDGE: u32 = libc::EPOLLET as u32;

pub struct Epoll(OwnedFd);

/// Room for the events of one wait.
pub struct Events(Vec<libc::epoll_event>);

impl Events {
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Token and readiness of every event of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.0.iter().map(|event| (event.u64, event.events))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is handed over; the descriptor is ours alone.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn add(&self, fd: &OwnedFd, token: u64, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), token, interest)
    }

    /// Watches standard input for a line or its end.
    pub fn add_stdin(&self, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, libc::STDIN_FILENO, token, READABLE)
    }

    pub fn modify(&self, fd: &OwnedFd, token: u64, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), token, interest)
    }

    /// Waits for events, for `timeout_ms` (-1: without end).
    pub fn wait(&self, events: &mut Events, timeout_ms: c_int) -> io::Result<()> {
        let room = events.0.capacity() as c_int;
        let buffer = events.0.as_mut_ptr();
        // SAFETY: the kernel fills at most `room` of the events that the vector has room for.
        let count = match check(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), buffer, room, timeout_ms)
        }) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        unsafe { events.0.set_len(count) };
        Ok(())
    }

    fn control(&self, operation: c_int, fd: RawFd, token: u64, interest: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: token };
        // SAFETY: the event outlives the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event) })
            .map(drop)
    }
}

/// A nonblocking listener whose accepted sockets inherit TCP_NODELAY.
pub fn listen(address: SocketAddrV4) -> io::Result<OwnedFd> {
    let fd = socket()?;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_option(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    let (name, length) = sockaddr(address);
    // SAFETY: `name` is a whole sockaddr_in of `length` bytes.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), length) })?;
    // The kernel cuts the backlog to net.core.somaxconn.
    check(unsafe { libc::listen(fd.as_raw_fd(), c_int::MAX) })?;
    Ok(fd)
}

/// The next waiting connection, nonblocking; `None` if no connection waits.
pub fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no address is asked for; the new descriptor is ours alone.
    let accepted = check(unsafe {
        libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags)
    });
    match accepted {
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::ConnectionAborted => Ok(None),
            _ => Err(error),
        },
    }
}

/// Starts a nonblocking connection, from the local address `source` where one is given.
pub fn connect(target: SocketAddrV4, source: Option<SocketAddrV4>) -> io::Result<OwnedFd> {
    let fd = socket()?;
    set_option(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if let Some(source) = source {
        // The port is then chosen in connect, where the same one can serve several targets.
        set_option(&fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        let (name, length) = sockaddr(source);
        // SAFETY: `name` is a whole sockaddr_in of `length` bytes.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), length) })?;
    }
    let (name, length) = sockaddr(target);
    // SAFETY: as above.
    match check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const name).cast(), length) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(fd),
    }
}

/// Reads into `buffer`; `None` when nothing is there yet.
pub fn read(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: the kernel writes at most the buffer's length into it.
    would_block(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// Throws away up to `count` received bytes without copying them; `None` when nothing is there yet.
pub fn discard(fd: &OwnedFd, count: usize) -> io::Result<Option<usize>> {
    // SAFETY: with MSG_TRUNC a TCP socket touches no buffer (tcp(7)).
    would_block(unsafe {
        libc::recv(fd.as_raw_fd(), ptr::null_mut::<c_void>(), count, libc::MSG_TRUNC)
    })
}

/// Writes from `bytes`; `None` when there is no room yet.
pub fn write(fd: &OwnedFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    // SAFETY: the kernel reads at most the slice's length.
    would_block(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// Writes the parts one after the other; `None` when there is no room yet.
pub fn write_vectored(fd: &OwnedFd, parts: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    // More than the kernel takes at once (UIO_MAXIOV) would be an error.
    let count = parts.len().min(1024) as c_int;
    // SAFETY: an IoSlice is an iovec, and the kernel only reads from it.
    would_block(unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr().cast(), count) })
}

/// Tells the peer that nothing more will be sent.
pub fn shutdown_write(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: no memory is handed over.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) }).map(drop)
}

/// A pipe with room for `size` bytes: its end to read and its end to write.
pub fn pipe(size: c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: the kernel fills both descriptors, which are then ours alone.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
    let ends = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    check(unsafe { libc::fcntl(ends.1.as_raw_fd(), libc::F_SETPIPE_SZ, size) })?;
    Ok(ends)
}

/// Moves up to `count` bytes without copying them through user space; `None` when it would wait.
pub fn splice(from: &OwnedFd, to: &OwnedFd, count: usize) -> io::Result<Option<usize>> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: no offsets are handed over.
    would_block(unsafe {
        libc::splice(
            from.as_raw_fd(),
            ptr::null_mut(),
            to.as_raw_fd(),
            ptr::null_mut(),
            count,
            flags,
        )
    })
}

/// Lets this process have as many descriptors as it may ask for.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives both calls.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

/// Runs the calling thread only while its core has nothing else to do.
pub fn yield_to_all_others() -> io::Result<()> {
    // SAFETY: sched_param is plain data, for which zero is valid; it outlives the call.
    let param: libc::sched_param = unsafe { mem::zeroed() };
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const param) }).map(drop)
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is handed over; the descriptor is ours alone.
    let fd = check(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_option(fd: &OwnedFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let size = mem::size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the value is an int of `size` bytes and outlives the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size) })
        .map(drop)
}

fn sockaddr(address: SocketAddrV4) -> (libc::sockaddr_in, libc::socklen_t) {
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    };
    (name, mem::size_of::<libc::sockaddr_in>() as libc::socklen_t)
}

fn check(returned: c_int) -> io::Result<c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

fn would_block(returned: isize) -> io::Result<Option<usize>> {
    if returned >= 0 {
        return Ok(Some(returned as usize));
    }
    let error = io::Error::last_os_error();
    if error.kind() == ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
}
