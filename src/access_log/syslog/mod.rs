//! A syslog receiver as the writer of a log sees it: connected to when there is something to write,
//! anew after each failure.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use rustix::net::RecvFlags;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

use super::{look_up::LookUp, output::lines_end, writer_thread::LEAST_PATIENCE};
use crate::config::SyslogAddress;

/// How soon an idle connection is looked after: middleboxes forget those of some minutes.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Bytes that the kernel holds for a receiver at most: what a connection that breaks takes along.
const SEND_BUFFER: usize = 64 * 1024;

/// The longest message in one UDP datagram over IPv4 (RFC 5426, 3.2): 65,535 bytes less the headers.
const LONGEST_DATAGRAM: usize = 65_535 - 20 - 8;

/// What every receiver takes (RFC 5424, 6.1): a datagram that is too long even so is not tried in
/// smaller pieces.
const SHORTEST_LIMIT: usize = 480;

/// Bytes of frames to one call.
const BATCH: usize = 64 * 1024;

pub(super) struct SyslogPeer {
    to: SyslogAddress,
    look_up: LookUp,
    connection: Option<Connection>,
}

struct Connection {
    socket: Socket,
    framing: Framing,
    patience: Duration,
}

/// How a receiver tells one message from the next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// A datagram each (RFC 5426, 3.1), of so many bytes at most.
    Datagrams { longest: usize },
    /// Octet counting: RFC 6587, 3.4.1.
    Counted,
    /// Line feeds (RFC 6587, 3.4.2), as programs on the same host expect of a stream.
    Lines,
}

impl SyslogPeer {
    pub(super) fn new(to: SyslogAddress) -> Self {
        Self { to, look_up: LookUp::new(), connection: None }
    }

    pub(super) fn connect(&mut self, patience: Duration) -> io::Result<()> {
        if self.connection.is_none() {
            let Self { to, look_up, .. } = self;
            let deadline = Instant::now() + patience;
            let mut found = |host| look_up.addresses(host, patience);
            self.connection = Some(match to {
                SyslogAddress::Unix(path) => connect_unix(path, patience)?,
                SyslogAddress::Udp(host) => connect_any(&found(host)?, deadline, connect_udp)?,
                SyslogAddress::Tcp(host) => connect_any(&found(host)?, deadline, connect_tcp)?,
            });
        }
        Ok(())
    }

    /// As of [`super::output::Output::write`]. After an error the connection is another, on which
    /// no line is begun.
    pub(super) fn write(
        &mut self,
        lines: &[u8],
        begun: &mut usize,
        patience: Duration,
    ) -> io::Result<usize> {
        self.connect(patience)?;
        let Some(connection) = &mut self.connection else { return Ok(0) };
        let written = connection.write(lines, begun, patience);
        if written.as_ref().is_err_and(|error| !is_transient(error)) {
            self.connection = None;
            *begun = 0;
        }
        written
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl Connection {
    fn new(socket: Socket, framing: Framing, patience: Duration) -> io::Result<Self> {
        socket.set_write_timeout(Some(patience))?;
        Ok(Self { socket, framing, patience })
    }

    fn write(&mut self, lines: &[u8], begun: &mut usize, patience: Duration) -> io::Result<usize> {
        if patience != self.patience {
            self.socket.set_write_timeout(Some(patience))?;
            self.patience = patience;
        }
        match &mut self.framing {
            Framing::Datagrams { longest } => send_datagram(&self.socket, longest, lines),
            Framing::Counted => {
                notice_close(&self.socket)?;
                send_counted(&self.socket, lines, begun)
            }
            Framing::Lines => {
                notice_close(&self.socket)?;
                let written = *begun + sent(self.socket.send(&lines[*begun..]))?;
                let whole = lines_end(&lines[..written]);
                *begun = written - whole;
                Ok(whole)
            }
        }
    }
}

/// Sends the first line.
fn send_datagram(socket: &Socket, longest: &mut usize, lines: &[u8]) -> io::Result<usize> {
    let end = lines.iter().position(|&byte| byte == b'\n').unwrap_or(lines.len());
    let message = &lines[..end];
    while let Err(error) = socket.send(cut(message, *longest)) {
        // A receiver on this host may take less than UDP does.
        let is_too_long = error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error());
        if !is_too_long || *longest / 2 < SHORTEST_LIMIT {
            return Err(error);
        }
        *longest /= 2;
    }
    // On the same host it is known at once when nobody was there to take it (ICMP port unreachable);
    // otherwise the next datagram would be told.
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok((end + 1).min(lines.len())),
    }
}

/// The beginning of a text, its last character whole.
fn cut(text: &[u8], longest: usize) -> &[u8] {
    if text.len() <= longest {
        return text;
    }
    let is_continued =
        |at: &usize| text.get(*at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    let end = (0..=longest).rev().find(|at| !is_continued(at)).unwrap_or_default();
    &text[..end]
}

fn send_counted(socket: &Socket, lines: &[u8], begun: &mut usize) -> io::Result<usize> {
    let mut frames = Vec::with_capacity(BATCH + 1024);
    // Where each frame ends, and where its line does.
    let mut ends = Vec::new();
    let mut line_end = 0;
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let message = line.strip_suffix(b"\n").unwrap_or(line);
        frames.extend_from_slice(format!("{} ", message.len()).as_bytes());
        frames.extend_from_slice(message);
        line_end += line.len();
        ends.push((frames.len(), line_end));
        if frames.len() >= BATCH {
            break;
        }
    }
    let written = *begun + sent(socket.send(&frames[*begun..]))?;
    let whole = ends.into_iter().take_while(|(frame_end, _)| *frame_end <= written).last();
    let (frame_end, line_end) = whole.unwrap_or_default();
    *begun = written - frame_end;
    Ok(line_end)
}

fn sent(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        result => result,
    }
}

/// A receiver that has closed is noticed before anything is written into its silence. It has nothing
/// to say itself; what it says all the same is thrown away, as unread it would reset the connection.
fn notice_close(socket: &Socket) -> io::Result<()> {
    let mut said = [0; 512];
    match rustix::net::recv(socket, &mut said, RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Err(io::Error::new(ErrorKind::ConnectionAborted, "the receiver has closed")),
        Ok(_) => Ok(()),
        Err(error) if is_transient(&error.into()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Connects to the first of a host's addresses that can be, each of which has its share of the time.
fn connect_any(
    addresses: &[SocketAddr],
    deadline: Instant,
    connect: impl Fn(SocketAddr, Duration) -> io::Result<Connection>,
) -> io::Result<Connection> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for (at, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - at) as u32;
        match connect(*address, share.max(LEAST_PATIENCE)) {
            Ok(connection) => return Ok(connection),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn connect_tcp(to: SocketAddr, patience: Duration) -> io::Result<Connection> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    // No TCP_USER_TIMEOUT: it would break the connection of a receiver that is only slow.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_tcp_nodelay(true)?;
    socket.connect_timeout(&to.into(), patience)?;
    Connection::new(socket, Framing::Counted, patience)
}

fn connect_udp(to: SocketAddr, patience: Duration) -> io::Result<Connection> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    socket.connect(&to.into())?;
    Connection::new(socket, Framing::Datagrams { longest: LONGEST_DATAGRAM }, patience)
}

/// /dev/log takes datagrams nearly everywhere; where it is a stream, connecting says so.
fn connect_unix(path: &Path, patience: Duration) -> io::Result<Connection> {
    let to = SockAddr::unix(path)?;
    let connect = |kind| {
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        // For connecting too, which waits for room in the backlog of a stream.
        socket.set_write_timeout(Some(patience))?;
        socket.connect(&to).map(|()| socket)
    };
    match connect(Type::DGRAM) {
        Ok(socket) => {
            Connection::new(socket, Framing::Datagrams { longest: LONGEST_DATAGRAM }, patience)
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
            Connection::new(connect(Type::STREAM)?, Framing::Lines, patience)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
