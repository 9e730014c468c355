//! The state of a TLS connection: its keys, and the bytes waiting in either direction.

use std::{io, task::Poll};

use super::{
    connection::{TlsConnection, TlsWrite},
    partial_records::{MAX_HANDSHAKE_BYTES, MAX_RECORD_BYTES, PartialRecords, whole_records},
    violation::TlsViolation,
};
use crate::net::{buffer::Buffer, socket::Socket, stream::backlog::Backlog};

pub(super) struct TlsState {
    pub(super) connection: TlsConnection,
    /// The beginning of a record, or of a handshake message, whose rest has not arrived.
    pub(super) partial: PartialRecords,
    pub(super) max_partial_bytes: usize,
    /// Plaintext for which the reader had no room.
    pub(super) plain: Vec<u8>,
    /// The peer's violation, reported to the reader once it has read all of `plain`.
    pub(super) violation: Option<Box<TlsViolation>>,
    /// Records that the socket has not taken yet.
    pub(super) backlog: Backlog,
    pub(super) peer_ended: bool,
    own_end: OwnEnd,
}

/// Whether our side has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OwnEnd {
    Open,
    /// The socket is shut down once the backlog is written.
    Pending,
    Done,
}

impl TlsState {
    pub(super) fn new(connection: TlsConnection, max_partial_bytes: usize) -> Self {
        Self {
            connection,
            partial: PartialRecords::default(),
            // One record has to fit, and no message is longer than the upper bound.
            max_partial_bytes: max_partial_bytes.clamp(MAX_RECORD_BYTES, MAX_HANDSHAKE_BYTES),
            plain: Vec::new(),
            violation: None,
            backlog: Backlog::default(),
            peer_ended: false,
            own_end: OwnEnd::Open,
        }
    }

    /// Reads the socket once; returns the number of plaintext bytes in `buf`. If the peer violates
    /// TLS, `violation` is set, and our alert is in the outbox.
    pub(super) fn read(
        &mut self,
        socket: &Socket,
        outbox: &mut Buffer,
        buf: &mut [u8],
        inspect: &mut impl FnMut(&[u8]),
    ) -> io::Result<Poll<usize>> {
        // With the partial records, as much as `buf` has room for, so that little plaintext has to
        // be kept.
        let size = MAX_RECORD_BYTES.max(buf.len()).saturating_sub(self.partial.len());
        let inbox = &mut *socket.buffers().inbox.lend();
        let received = inbox.receive(size.max(MAX_RECORD_BYTES / 2), |room| socket.try_recv(room));
        let Poll::Ready(n) = received? else {
            return Ok(Poll::Pending);
        };
        if n == 0 {
            self.peer_ended = true;
            return Ok(Poll::Ready(0));
        }
        inspect(inbox.bytes());
        Ok(Poll::Ready(self.decrypt(inbox.bytes_mut(), outbox, buf)))
    }

    /// Decrypts what has arrived; returns the number of plaintext bytes in `buf`.
    pub(super) fn decrypt(
        &mut self,
        wire: &mut [u8],
        outbox: &mut Buffer,
        buf: &mut [u8],
    ) -> usize {
        let mut given = 0;
        let plain = &mut self.plain;
        let mut give = |plaintext: &[u8]| {
            let fits = plaintext.len().min(buf.len() - given);
            buf[given..given + fits].copy_from_slice(&plaintext[..fits]);
            given += fits;
            plain.extend_from_slice(&plaintext[fits..]);
        };
        let read = read_records(&mut self.connection, &mut self.partial, wire, outbox, &mut give);
        self.peer_ended |= self.connection.peer_has_closed();
        let has_too_much = self.partial.len() > self.max_partial_bytes;
        match read {
            Err(error) => self.violation = Some(Box::new(TlsViolation::Tls(error))),
            Ok(()) if has_too_much => {
                self.partial.append_invalid_record();
                let _ = self.connection.read(self.partial.bytes_mut(), outbox, |_| {});
                let violation = TlsViolation::TooManyPartialBytes(self.max_partial_bytes);
                self.violation = Some(Box::new(violation));
            }
            Ok(()) if !self.peer_ended => return given,
            Ok(()) => {}
        }
        // The partial records will never be completed.
        self.partial = PartialRecords::default();
        given
    }

    /// Writes records after the backlog, and keeps those that the socket does not take.
    pub(super) fn send(&mut self, socket: &Socket, records: &[u8]) -> io::Result<()> {
        let sent = match self.backlog.len() {
            0 => socket.try_send(records)?,
            _ => Poll::Pending,
        };
        let sent = if let Poll::Ready(sent) = sent { sent } else { 0 };
        self.backlog.keep(&records[sent..]);
        Ok(())
    }

    /// Moves the backlog to the outbox, to be written in one call with what comes next.
    pub(super) fn join_backlog(&mut self, outbox: &mut Buffer) {
        if self.backlog.len() > 0 {
            outbox.extend(self.backlog.bytes());
            self.backlog.clear();
        }
    }

    pub(super) fn flush(&mut self, socket: &Socket) -> Poll<io::Result<()>> {
        if self.backlog.flush(|bytes| socket.try_send(bytes))?.is_pending() {
            return Poll::Pending;
        }
        if self.own_end == OwnEnd::Pending {
            self.own_end = OwnEnd::Done;
            socket.shutdown();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes close_notify; the socket is shut down once it and everything before it is written.
    pub(super) fn send_close_notify(&mut self, socket: &Socket) {
        if self.own_end != OwnEnd::Open {
            return;
        }
        self.own_end = OwnEnd::Pending;
        let outbox = &mut *socket.buffers().outbox.lend();
        self.join_backlog(outbox);
        // After a failure of TLS there is no close_notify.
        let _ = self.connection.write(TlsWrite::CloseNotify, self.partial.bytes_mut(), outbox);
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

    /// Ends the connection with the alert certificate_expired, as far as the socket takes it.
    pub(super) fn send_certificate_expired(self, socket: &Socket) {
        let Self { connection, mut backlog, .. } = self;
        if let Some(alert) = connection.certificate_expired() {
            backlog.keep(&alert);
        }
        // If the socket has failed, the alert cannot be delivered.
        let _ = backlog.flush(|bytes| socket.try_send(bytes));
    }
}

/// Passes to rustls everything that it can use now: each byte once, and in place where possible.
fn read_records(
    connection: &mut TlsConnection,
    partial: &mut PartialRecords,
    mut wire: &mut [u8],
    outbox: &mut Buffer,
    give: &mut impl FnMut(&[u8]),
) -> Result<(), rustls::Error> {
    while partial.len() > 0 && !wire.is_empty() {
        let (taken, is_complete) = partial.complete(wire);
        wire = &mut wire[taken..];
        if is_complete {
            let used = connection.read(partial.bytes_mut(), outbox, &mut *give)?;
            partial.discard(used);
        }
    }
    if !wire.is_empty() {
        let whole = whole_records(wire);
        let used = connection.read(wire, outbox, give)?;
        partial.keep(&wire[used..], whole.saturating_sub(used));
    }
    partial.shrink();
    Ok(())
}
