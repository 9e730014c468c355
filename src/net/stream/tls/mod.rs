//! TLS as a layer over a socket: plaintext above, records below, and no buffer while nothing is on
//! its way.
//!
//! rustls is driven without buffers of its own. What it would keep for each connection, a worker
//! keeps once.

mod alert;
mod client_hello;
mod connection;
mod fault;
mod handshake;
mod held;
mod resumed;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, io, task::Poll};

pub(super) use handshake::Accepting;
pub use handshake::{ClientTlsHandshake, TlsError};

use super::backlog::Backlog;
use crate::net::{BULK_BYTES, buffer::Buffer, socket::Socket};
use connection::{Connection, Write};
use fault::Fault;
use held::{Held, LONGEST_RECORD, MOST_IN_HANDSHAKE, whole_records};

/// Bytes that wait, such as tickets, which are written in one call with what comes next. More of
/// them is what a slow receiver has left, and has to be taken first.
const MOST_JOINED: usize = 4096;

/// One side of a TLS connection.
pub(in crate::net) struct Tls {
    state: RefCell<State>,
}

struct State {
    connection: Connection,
    /// The beginning of a record, or of a handshake message, whose rest has not come.
    held: Held,
    /// The most that may be held.
    may_hold: usize,
    /// Plaintext that the reader had no room for.
    plain: Vec<u8>,
    /// What the peer did wrong behind all that: the reader is told once it has the plaintext.
    fault: Option<Box<Fault>>,
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

impl Tls {
    /// `may_hold`: how much of its handshake the peer may leave here before it goes on.
    fn new(connection: Connection, may_hold: usize) -> Self {
        let state = State {
            connection,
            held: Held::default(),
            // A record must be possible, and beyond a message there is nothing to wait for.
            may_hold: may_hold.clamp(LONGEST_RECORD, MOST_IN_HANDSHAKE),
            plain: Vec::new(),
            fault: None,
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
            if let Some(fault) = &state.fault {
                return Poll::Ready(Err(fault.to_io()));
            }
            if state.ended {
                return Poll::Ready(Ok(0));
            }
            if !socket.may_recv() {
                return Poll::Pending;
            }
            let outbox = &mut *socket.buffers().outbox.lend();
            let read = state.read(socket, outbox, buf, &mut |_| {});
            if !outbox.is_empty() {
                // An answer to a key update, or an alert. Where the socket has failed, the next read
                // says so, behind the plaintext of this one.
                let _ = state.send(socket, outbox.bytes());
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
    ///
    /// Once the peer has broken TLS there is no record for it any more: what is sent is dropped, and
    /// the next read says why. What the peer had sent before is the reader's still.
    pub(in crate::net) fn try_send(&self, socket: &Socket, buf: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        if state.fault.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        if state.backlog.len() > MOST_JOINED && state.flush(socket)?.is_pending() {
            return Poll::Pending;
        }
        let outbox = &mut *socket.buffers().outbox.lend();
        state.join_backlog(outbox);
        let taken = &buf[..buf.len().min(BULK_BYTES)];
        let written = state.connection.write(Write::Data(taken), state.held.bytes_mut(), outbox);
        // What could not be encrypted does not keep back what has been.
        state.send(socket, outbox.bytes())?;
        written.map_err(|error| Fault::Tls(error).to_io())?;
        Poll::Ready(Ok(taken.len()))
    }

    /// Gives the socket the records that it has not taken.
    pub(super) fn try_flush(&self, socket: &Socket) -> Poll<io::Result<()>> {
        self.state.borrow_mut().flush(socket)
    }

    /// Whether so many records have been sent that the connection has to end soon.
    pub(super) fn is_near_key_limit(&self) -> bool {
        self.state.borrow().connection.is_near_key_limit()
    }

    #[cfg(test)]
    pub(in crate::net) fn set_records(&self, records: u64) {
        self.state.borrow_mut().connection.records = records;
    }

    /// Ends our side: the peer is told, and then the socket is shut down.
    pub(super) fn shutdown(&self, socket: &Socket) {
        let state = &mut *self.state.borrow_mut();
        state.say_goodbye(socket);
        // Where the socket has failed, there is nobody to say it to; the next read tells.
        let _ = state.flush(socket);
    }

    /// Tells the peer of the end, where a close of the socket follows at once.
    pub(super) fn send_close(&self, socket: &Socket) {
        self.state.borrow_mut().say_goodbye(socket);
    }
}

impl State {
    /// Ends with the alert certificate_expired, as far as the socket takes it.
    fn refuse_expired(self, socket: &Socket) {
        let Self { connection, mut backlog, .. } = self;
        if let Some(alert) = connection.certificate_expired() {
            backlog.keep(&alert);
        }
        // If the socket has failed, the alert cannot be delivered.
        let _ = backlog.flush(|bytes| socket.try_send(bytes));
    }

    fn say_goodbye(&mut self, socket: &Socket) {
        if self.our_end != OurEnd::Open {
            return;
        }
        self.our_end = OurEnd::Owed;
        let outbox = &mut *socket.buffers().outbox.lend();
        self.join_backlog(outbox);
        // Where TLS has failed there is nothing to say.
        let _ = self.connection.write(Write::CloseNotify, self.held.bytes_mut(), outbox);
        let last = outbox.bytes();
        if last.is_empty() {
            return;
        }
        match socket.try_send_last(last) {
            Poll::Ready(Ok(sent)) => self.backlog.keep(&last[sent..]),
            Poll::Pending => self.backlog.keep(last),
            Poll::Ready(Err(_)) => {}
        }
    }

    /// One read of the socket; the number of plaintext bytes in `buf`. Where the peer breaks TLS,
    /// `fault` is set, and our alert is in the outbox.
    fn read(
        &mut self,
        socket: &Socket,
        outbox: &mut Buffer,
        buf: &mut [u8],
        look: &mut impl FnMut(&[u8]),
    ) -> io::Result<Poll<usize>> {
        // As much as `buf` has room for, with what is held, so that little plaintext has to be kept.
        let size = LONGEST_RECORD.max(buf.len()).saturating_sub(self.held.len());
        let inbox = &mut *socket.buffers().inbox.lend();
        let received = inbox.receive(size.max(LONGEST_RECORD / 2), |room| socket.try_recv(room));
        let Poll::Ready(n) = received? else {
            return Ok(Poll::Pending);
        };
        if n == 0 {
            self.ended = true;
            return Ok(Poll::Ready(0));
        }
        look(inbox.bytes());
        Ok(Poll::Ready(self.take_in(inbox.bytes_mut(), outbox, buf)))
    }

    /// Decrypts what has come; the number of plaintext bytes in `buf`.
    fn take_in(&mut self, wire: &mut [u8], outbox: &mut Buffer, buf: &mut [u8]) -> usize {
        let mut given = 0;
        let plain = &mut self.plain;
        let mut give = |plaintext: &[u8]| {
            let fits = plaintext.len().min(buf.len() - given);
            buf[given..given + fits].copy_from_slice(&plaintext[..fits]);
            given += fits;
            plain.extend_from_slice(&plaintext[fits..]);
        };
        let read = decrypt(&mut self.connection, &mut self.held, wire, outbox, &mut give);
        self.ended |= self.connection.peer_has_closed();
        let held_too_much = self.held.len() > self.may_hold;
        match read {
            Err(error) => self.fault = Some(Box::new(Fault::Tls(error))),
            Ok(()) if held_too_much => {
                self.held.spoil();
                let _ = self.connection.read(self.held.bytes_mut(), outbox, |_| {});
                self.fault = Some(Box::new(Fault::Held(self.may_hold)));
            }
            Ok(()) if !self.ended => return given,
            Ok(()) => {}
        }
        // Nothing that is held will be of any use.
        self.held = Held::default();
        given
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
    fn join_backlog(&mut self, outbox: &mut Buffer) {
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

/// Has rustls look at all that it can use by now: each byte once, where it need not be moved later.
fn decrypt(
    connection: &mut Connection,
    held: &mut Held,
    mut wire: &mut [u8],
    outbox: &mut Buffer,
    give: &mut impl FnMut(&[u8]),
) -> Result<(), rustls::Error> {
    while held.len() > 0 && !wire.is_empty() {
        let (taken, is_complete) = held.complete(wire);
        wire = &mut wire[taken..];
        if is_complete {
            let used = connection.read(held.bytes_mut(), outbox, &mut *give)?;
            held.used(used);
        }
    }
    if !wire.is_empty() {
        let whole = whole_records(wire);
        let used = connection.read(wire, outbox, give)?;
        held.keep(&wire[used..], whole.saturating_sub(used));
    }
    held.shrink();
    Ok(())
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
