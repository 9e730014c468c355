//! A syslog receiver as the output of a log. The connection is made when there is something to
//! write, and again after each failure.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use rustix::net::RecvFlags;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

use super::look_up::HostLookUp;
use crate::{
    access_log::lines::{first_line_len, whole_lines_len},
    config::SyslogAddress,
};

/// The shortest timeout of a socket: an `SO_SNDTIMEO` of 0 means no timeout.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// Idle time before TCP keepalive: middleboxes forget connections that are idle for some minutes.
const KEEPALIVE_TIME: Duration = Duration::from_mins(1);

/// The most bytes that the kernel buffers for a receiver; they are lost when the connection breaks.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The longest message in one UDP datagram over IPv4 (RFC 5426, 3.2): 65,535 bytes less the
/// headers.
const MAX_DATAGRAM_BYTES: usize = 65_535 - 20 - 8;

/// The message length that every receiver must accept (RFC 5424, 6.1): the datagram limit is never
/// lowered below it.
const MIN_DATAGRAM_LIMIT: usize = 480;

/// The most bytes of frames in one write.
const BATCH_BYTES: usize = 64 * 1024;

pub(in crate::access_log) struct SyslogReceiver {
    to: SyslogAddress,
    look_up: HostLookUp,
    connection: Option<SyslogConnection>,
}

struct SyslogConnection {
    socket: Socket,
    framing: Framing,
    /// The write timeout currently set on the socket.
    timeout: Duration,
}

/// The framing of messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// One datagram each (RFC 5426, 3.1), of at most `max_bytes`.
    Datagrams { max_bytes: usize },
    /// Octet counting: RFC 6587, 3.4.1.
    Counted,
    /// Line feeds (RFC 6587, 3.4.2), which programs on the same host expect on a stream.
    Lines,
}

impl SyslogReceiver {
    pub(in crate::access_log) fn new(to: SyslogAddress) -> Self {
        Self { to, look_up: HostLookUp::new(), connection: None }
    }

    pub(in crate::access_log) fn connect(&mut self, timeout: Duration) -> io::Result<()> {
        if self.connection.is_none() {
            let Self { to, look_up, .. } = self;
            let timeout = timeout.max(MIN_TIMEOUT);
            let deadline = Instant::now() + timeout;
            let mut found = |host| look_up.addresses(host, timeout);
            self.connection = Some(match to {
                SyslogAddress::Unix(path) => connect_unix(path, timeout)?,
                SyslogAddress::Udp(host) => connect_any(&found(host)?, deadline, connect_udp)?,
                SyslogAddress::Tcp(host) => connect_any(&found(host)?, deadline, connect_tcp)?,
            });
        }
        Ok(())
    }

    /// See [`super::LogOutput::write`]. After an error other than a timeout, the next write starts
    /// on a new connection, with no line partly written.
    pub(in crate::access_log) fn write(
        &mut self,
        lines: &[u8],
        partial: &mut usize,
        timeout: Duration,
    ) -> io::Result<usize> {
        self.connect(timeout)?;
        let Some(connection) = &mut self.connection else { return Ok(0) };
        let written = connection.write(lines, partial, timeout.max(MIN_TIMEOUT));
        if written.as_ref().is_err_and(|error| !is_transient(error)) {
            self.connection = None;
            *partial = 0;
        }
        written
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl SyslogConnection {
    fn new(socket: Socket, framing: Framing, timeout: Duration) -> io::Result<Self> {
        socket.set_write_timeout(Some(timeout))?;
        Ok(Self { socket, framing, timeout })
    }

    fn write(&mut self, lines: &[u8], partial: &mut usize, timeout: Duration) -> io::Result<usize> {
        if timeout != self.timeout {
            self.socket.set_write_timeout(Some(timeout))?;
            self.timeout = timeout;
        }
        match &mut self.framing {
            Framing::Datagrams { max_bytes } => send_datagram(&self.socket, max_bytes, lines),
            Framing::Counted => {
                check_closed(&self.socket)?;
                send_counted(&self.socket, lines, partial)
            }
            Framing::Lines => {
                check_closed(&self.socket)?;
                let written = *partial + nonzero(self.socket.send(&lines[*partial..]))?;
                let whole = whole_lines_len(&lines[..written]);
                *partial = written - whole;
                Ok(whole)
            }
        }
    }
}

/// Sends the first line as one datagram.
fn send_datagram(socket: &Socket, max_bytes: &mut usize, lines: &[u8]) -> io::Result<usize> {
    let line = &lines[..first_line_len(lines)];
    let message = line.strip_suffix(b"\n").unwrap_or(line);
    while let Err(error) = socket.send(truncate(message, *max_bytes)) {
        // The limit of a receiver on this host may be lower than that of UDP.
        let is_too_long = error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error());
        if !is_too_long || *max_bytes / 2 < MIN_DATAGRAM_LIMIT {
            return Err(error);
        }
        *max_bytes /= 2;
    }
    // A missing receiver on the same host is detected at once (ICMP port unreachable). Without this
    // check, only the next datagram would fail.
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(line.len()),
    }
}

/// The beginning of a text, up to a character boundary.
fn truncate(text: &[u8], max_bytes: usize) -> &[u8] {
    if text.len() <= max_bytes {
        return text;
    }
    let is_continued =
        |at: &usize| text.get(*at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    let end = (0..=max_bytes).rev().find(|at| !is_continued(at)).unwrap_or_default();
    &text[..end]
}

fn send_counted(socket: &Socket, lines: &[u8], partial: &mut usize) -> io::Result<usize> {
    let mut frames = Vec::with_capacity(BATCH_BYTES + 1024);
    // The ends of each frame and of its line.
    let mut ends = Vec::new();
    let mut line_end = 0;
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let message = line.strip_suffix(b"\n").unwrap_or(line);
        frames.extend_from_slice(format!("{} ", message.len()).as_bytes());
        frames.extend_from_slice(message);
        line_end += line.len();
        ends.push((frames.len(), line_end));
        if frames.len() >= BATCH_BYTES {
            break;
        }
    }
    let written = *partial + nonzero(socket.send(&frames[*partial..]))?;
    let whole = ends.into_iter().take_while(|(frame_end, _)| *frame_end <= written).last();
    let (frame_end, line_end) = whole.unwrap_or_default();
    *partial = written - frame_end;
    Ok(line_end)
}

/// Turns a write of 0 bytes into an error, because it would be retried forever.
fn nonzero(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        result => result,
    }
}

/// Fails if the receiver has closed the connection, where written lines would be lost. Receivers
/// normally send nothing; bytes that one does send are discarded, because closing a socket with
/// unread bytes resets the connection.
fn check_closed(socket: &Socket) -> io::Result<()> {
    let mut discarded = [0; 512];
    match rustix::net::recv(socket, &mut discarded, RecvFlags::DONTWAIT) {
        Ok((_, 0)) => {
            Err(io::Error::new(ErrorKind::ConnectionAborted, "the receiver closed the connection"))
        }
        Ok(_) => Ok(()),
        Err(error) if is_transient(&error.into()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Connects to the first of a host's addresses that accepts; each gets an equal share of the time.
fn connect_any(
    addresses: &[SocketAddr],
    deadline: Instant,
    connect: impl Fn(SocketAddr, Duration) -> io::Result<SyslogConnection>,
) -> io::Result<SyslogConnection> {
    let mut last_error = io::Error::new(ErrorKind::NotFound, "the host has no addresses");
    for (at, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - at) as u32;
        match connect(*address, share.max(MIN_TIMEOUT)) {
            Ok(connection) => return Ok(connection),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn connect_tcp(to: SocketAddr, timeout: Duration) -> io::Result<SyslogConnection> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    // No TCP_USER_TIMEOUT: it would break the connection to a receiver that is only slow.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_TIME))?;
    socket.set_tcp_nodelay(true)?;
    socket.connect_timeout(&to.into(), timeout)?;
    SyslogConnection::new(socket, Framing::Counted, timeout)
}

fn connect_udp(to: SocketAddr, timeout: Duration) -> io::Result<SyslogConnection> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    socket.connect(&to.into())?;
    SyslogConnection::new(socket, Framing::Datagrams { max_bytes: MAX_DATAGRAM_BYTES }, timeout)
}

/// /dev/log accepts datagrams nearly everywhere; if it is a stream, connecting fails with
/// EPROTOTYPE.
fn connect_unix(path: &Path, timeout: Duration) -> io::Result<SyslogConnection> {
    let to = SockAddr::unix(path)?;
    let connect = |kind| {
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        // Also applies to connecting, which waits for room in the backlog of a stream socket.
        socket.set_write_timeout(Some(timeout))?;
        socket.connect(&to).map(|()| socket)
    };
    match connect(Type::DGRAM) {
        Ok(socket) => SyslogConnection::new(
            socket,
            Framing::Datagrams { max_bytes: MAX_DATAGRAM_BYTES },
            timeout,
        ),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
            SyslogConnection::new(connect(Type::STREAM)?, Framing::Lines, timeout)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
