//! TLS as a layer over a socket: plaintext above, records below, and no buffer while nothing is on
//! its way.
//!
//! rustls is driven without buffers of its own. What it would keep for each connection, a worker
//! keeps once.

mod client_hello;
mod connection;
mod handshake;
mod resumed;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, io, task::Poll};

pub(super) use handshake::Accepting;
pub use handshake::{Connecting, TlsError};

use super::{BULK_BYTES, backlog::Backlog, socket::Socket};
use connection::{Connection, Outbox, Write};

/// The longest record: its header, 2^14 bytes, and what TLS 1.2 lets a cipher add (RFC 5246,
/// section 6.2.3).
const LONGEST_RECORD: usize = 5 + (1 << 14) + 2048;

/// Bytes that wait, such as tickets, which are written in one call with what comes next. More of
/// them is what a slow receiver has left, and has to be taken first.
const MOST_JOINED: usize = 4096;

/// One side of a TLS connection.
pub(super) struct Tls {
    state: RefCell<State>,
}

struct State {
    connection: Connection,
    /// The beginning of a record, or of a handshake message, whose rest has not come.
    held: Vec<u8>,
    /// Plaintext that the reader had no room for.
    plain: Vec<u8>,
    /// Records that the socket has not taken.
    backlog: Backlog,
    /// The peer has ended its side.
    ended: bool,
    our_end: OurEnd,
}

/// Whether our side has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OurEnd {
    Open,
    /// Once the backlog is gone.
    Owed,
    Done,
}

/// Buffers of a worker, for what is on its way between a socket and a layer.
#[derive(Default)]
pub(super) struct Records {
    inbox: Vec<u8>,
    outbox: Outbox,
}

impl Tls {
    fn new(connection: Connection) -> Self {
        let state = State {
            connection,
            held: Vec::new(),
            plain: Vec::new(),
            backlog: Backlog::default(),
            ended: false,
            our_end: OurEnd::Open,
        };
        Self { state: RefCell::new(state) }
    }

    /// Reads records and gives their plaintext; 0 at the peer's end, be it announced or not: MQTT
    /// says itself where it ends.
    pub(super) fn try_recv(&self, socket: &Socket, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        loop {
            if !state.plain.is_empty() {
                return Poll::Ready(Ok(take_front(&mut state.plain, buf)));
            }
            if state.ended {
                return Poll::Ready(Ok(0));
            }
            if !socket.may_recv() {
                return Poll::Pending;
            }
            let records = &mut *socket.records().borrow_mut();
            let read = state.read(socket, records, buf, &mut |_| {});
            if records.outbox.len() > 0 {
                // An answer to a key update, or an alert.
                state.send(socket, records.outbox.take())?;
            }
            match read? {
                Poll::Pending => return Poll::Pending,
                // Nothing but TLS's own affairs, or the end.
                Poll::Ready(0) => {}
                Poll::Ready(n) => return Poll::Ready(Ok(n)),
            }
        }
    }

    /// Takes what fits into a few records. Pending while the socket owes room for the last one.
    pub(super) fn try_send(&self, socket: &Socket, buf: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        if state.backlog.len() > MOST_JOINED && state.flush(socket)?.is_pending() {
            return Poll::Pending;
        }
        let records = &mut *socket.records().borrow_mut();
        state.join_backlog(&mut records.outbox);
        let taken = &buf[..buf.len().min(BULK_BYTES)];
        let State { connection, held, .. } = state;
        let written = connection.write(Write::Data(taken), held, &mut records.outbox);
        written.map_err(Fault::Tls)?;
        state.send(socket, records.outbox.take())?;
        Poll::Ready(Ok(taken.len()))
    }

    /// Gives the socket the records that it has not taken.
    pub(super) fn try_flush(&self, socket: &Socket) -> Poll<io::Result<()>> {
        self.state.borrow_mut().flush(socket)
    }

    /// Ends our side: the peer is told, and then the socket is shut down.
    pub(super) fn shutdown(&self, socket: &Socket) {
        let state = &mut *self.state.borrow_mut();
        state.say_goodbye(socket);
        // Where the socket has failed, there is nobody to say it to; the next read tells.
        let _ = state.flush(socket);
    }

    /// Tells the peer of the end, where a close of the socket follows at once.
    pub(super) fn take_leave(&self, socket: &Socket) {
        self.state.borrow_mut().say_goodbye(socket);
    }
}

impl State {
    fn say_goodbye(&mut self, socket: &Socket) {
        if self.our_end != OurEnd::Open {
            return;
        }
        self.our_end = OurEnd::Owed;
        let records = &mut *socket.records().borrow_mut();
        self.join_backlog(&mut records.outbox);
        // Where TLS has failed there is nothing to say.
        let _ = self.connection.write(Write::CloseNotify, &mut self.held, &mut records.outbox);
        let last = records.outbox.take();
        if last.is_empty() {
            return;
        }
        match socket.try_send_last(last) {
            Poll::Ready(Ok(sent)) => self.backlog.keep(&last[sent..]),
            Poll::Pending => self.backlog.keep(last),
            Poll::Ready(Err(_)) => {}
        }
    }

    /// One read of the socket; the number of plaintext bytes in `buf`.
    fn read(
        &mut self,
        socket: &Socket,
        records: &mut Records,
        buf: &mut [u8],
        look: &mut impl FnMut(&[u8]),
    ) -> Result<Poll<usize>, Fault> {
        let Records { inbox, outbox } = records;
        let held = self.held.len();
        // A handshake message may be longer than a record; rustls has a limit for it.
        let size = LONGEST_RECORD.max(buf.len()).max(held + LONGEST_RECORD / 2);
        if inbox.len() < size {
            inbox.resize(size, 0);
        }
        let Poll::Ready(n) = socket.try_recv(&mut inbox[held..size]).map_err(Fault::Io)? else {
            return Ok(Poll::Pending);
        };
        if n == 0 {
            self.ended = true;
            return Ok(Poll::Ready(0));
        }
        inbox[..held].copy_from_slice(&self.held);
        self.held.clear();
        look(&inbox[..held + n]);
        self.take_in(held + n, inbox, outbox, buf).map(Poll::Ready).map_err(Fault::Tls)
    }

    /// Decrypts what is in the first `filled` bytes of `inbox`.
    fn take_in(
        &mut self,
        filled: usize,
        inbox: &mut [u8],
        outbox: &mut Outbox,
        buf: &mut [u8],
    ) -> Result<usize, rustls::Error> {
        let mut given = 0;
        let plain = &mut self.plain;
        let read = self.connection.read(&mut inbox[..filled], outbox, |plaintext| {
            let fits = plaintext.len().min(buf.len() - given);
            buf[given..given + fits].copy_from_slice(&plaintext[..fits]);
            given += fits;
            plain.extend_from_slice(&plaintext[fits..]);
        });
        self.ended |= self.connection.peer_has_closed();
        match &inbox[read?..filled] {
            // An idle connection keeps no memory for it.
            [] => self.held = Vec::new(),
            rest => self.held.extend_from_slice(rest),
        }
        Ok(given)
    }

    /// Writes records behind all that waits, and keeps what the socket does not take.
    fn send(&mut self, socket: &Socket, records: &[u8]) -> io::Result<()> {
        let sent = match self.backlog.len() {
            0 => socket.try_send(records)?,
            _ => Poll::Pending,
        };
        let sent = if let Poll::Ready(sent) = sent { sent } else { 0 };
        self.backlog.keep(&records[sent..]);
        Ok(())
    }

    /// Has what waits written together with what comes next.
    fn join_backlog(&mut self, outbox: &mut Outbox) {
        if self.backlog.len() > 0 {
            outbox.extend(self.backlog.bytes());
            self.backlog.clear();
        }
    }

    fn flush(&mut self, socket: &Socket) -> Poll<io::Result<()>> {
        if self.backlog.flush(|bytes| socket.try_send(bytes))?.is_pending() {
            return Poll::Pending;
        }
        if self.our_end == OurEnd::Owed {
            self.our_end = OurEnd::Done;
            socket.shutdown();
        }
        Poll::Ready(Ok(()))
    }
}

/// What went wrong below the plaintext.
enum Fault {
    Io(io::Error),
    Tls(rustls::Error),
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io(error) => error,
            Fault::Tls(error @ rustls::Error::AlertReceived(_)) => {
                Self::new(io::ErrorKind::ConnectionAborted, error)
            }
            Fault::Tls(error) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Moves bytes from the front of `from`, which keeps no memory once it is empty.
fn take_front(from: &mut Vec<u8>, to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    to[..n].copy_from_slice(&from[..n]);
    if n == from.len() {
        *from = Vec::new();
    } else {
        from.drain(..n);
    }
    n
}
