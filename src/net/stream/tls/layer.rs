//! One side of an established TLS connection, as a stream uses it.

use std::{cell::RefCell, io, task::Poll};

use super::{
    key_use::{KeyUse, KeyUsedUp},
    record::TlsWrite,
    state::TlsState,
    violation::TlsViolation,
};
use crate::net::{BULK_BYTES, socket::Socket};

/// A backlog of up to this many bytes, such as tickets, is written in one call with the next
/// records. A longer one was left by a slow receiver, and is written first.
const MAX_JOINED_BYTES: usize = 4096;

/// One side of a TLS connection.
pub(in crate::net) struct TlsLayer {
    pub(super) state: RefCell<TlsState>,
}

impl TlsLayer {
    pub(super) fn new(state: TlsState) -> Self {
        Self { state: RefCell::new(state) }
    }

    /// Reads records and returns their plaintext; 0 at the peer's end, with or without
    /// close_notify:
    /// MQTT has its own end of a session.
    pub(in crate::net) fn try_recv(
        &self,
        socket: &Socket,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        if state.buffers.is_captured {
            return Poll::Pending;
        }
        loop {
            if !state.buffers.plain.is_empty() {
                return Poll::Ready(Ok(state.buffers.plain.take_front(buf)));
            }
            if let Some(violation) = &state.buffers.violation {
                return Poll::Ready(Err(violation.to_io()));
            }
            if state.buffers.peer_ended {
                return Poll::Ready(Ok(0));
            }
            if !socket.may_recv() {
                return Poll::Pending;
            }
            let outbox = &mut *socket.buffers().outbox.lend();
            let read = state.read(socket, outbox, buf);
            if !outbox.is_empty() {
                // An alert. If the socket has failed, the next read
                // reports it, after the plaintext of this one.
                let _ = state.buffers.send(socket, outbox.bytes());
            }
            match read? {
                Poll::Pending => return Poll::Pending,
                // Records without plaintext, or the end.
                Poll::Ready(0) => {}
                Poll::Ready(n) => return Poll::Ready(Ok(n)),
            }
        }
    }

    /// Encrypts as much of `buf` as fits into a few records. Pending while the socket has no room
    /// for the last ones.
    ///
    /// After a violation by the peer nothing more is sent to it: further bytes are dropped, and the
    /// next read reports the violation. Whatever the peer sent before it can still be read.
    ///
    /// # Errors
    /// The socket has failed, or our key is [used up](super::is_key_used_up).
    pub(in crate::net) fn try_send(&self, socket: &Socket, buf: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        if state.buffers.is_captured {
            return Poll::Pending;
        }
        if state.buffers.violation.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        if state.buffers.backlog.len() > MAX_JOINED_BYTES && state.flush(socket)?.is_pending() {
            return Poll::Pending;
        }
        if state.records.key_use().is_some_and(KeyUse::is_used_up) {
            return Poll::Ready(Err(io::Error::other(KeyUsedUp)));
        }
        let outbox = &mut *socket.buffers().outbox.lend();
        state.buffers.join_backlog(outbox);
        let taken = &buf[..buf.len().min(BULK_BYTES)];
        let written = state.records.write(TlsWrite::Data(taken), outbox);
        // What was encrypted is sent even if the rest could not be.
        state.buffers.send(socket, outbox.bytes())?;
        written.map_err(|error| TlsViolation::Tls(error).to_io())?;
        Poll::Ready(Ok(taken.len()))
    }

    /// Writes the records that the socket has not taken yet.
    pub(in crate::net) fn try_flush(&self, socket: &Socket) -> Poll<io::Result<()>> {
        self.state.borrow_mut().flush(socket)
    }

    /// How much the keys have encrypted; `None` if they have no limit or can be replaced.
    pub(in crate::net) fn key_use(&self) -> Option<KeyUse> {
        self.state.borrow().records.key_use()
    }

    /// Keeps no more tickets of a broker.
    pub(in crate::net) fn ignore_tickets(&self) {
        self.state.borrow_mut().records.ignore_tickets();
    }

    /// Ends our side: sends close_notify, then shuts the socket down.
    pub(in crate::net) fn shutdown(&self, socket: &Socket) {
        let state = &mut *self.state.borrow_mut();
        state.send_close_notify(socket);
        // If the socket has failed, close_notify cannot be delivered; the next read reports it.
        let _ = state.flush(socket);
    }

    /// Sends close_notify; the socket must be closed right after.
    pub(in crate::net) fn send_close_notify(&self, socket: &Socket) {
        self.state.borrow_mut().send_close_notify(socket);
    }
}
