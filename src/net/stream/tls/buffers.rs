//! The bytes of a TLS connection that wait in either direction.

use std::{io, task::Poll};

use rustls::{Error, PeerMisbehaved};
use serde::{Deserialize, Serialize};

use super::{
    partial_records::{
        MAX_HANDSHAKE_BYTES, MAX_RECORD_BYTES, MAX_SESSION_BYTES, PartialRecords, whole_records,
    },
    records::ReadRecords,
    violation::TlsViolation,
};
use crate::net::{buffer::Buffer, socket::Socket, stream::backlog::Backlog};

pub(super) struct TlsBuffers {
    /// The beginning of a record, or during the handshake of a message, whose rest has not arrived.
    pub(super) partial: PartialRecords,
    /// Plaintext for which the reader had no room.
    pub(super) plain: Backlog,
    /// The peer's violation, reported to the reader once it has read all of `plain`.
    pub(super) violation: Option<Box<TlsViolation>>,
    /// Records that the socket has not taken yet.
    pub(super) backlog: Backlog,
    pub(super) max_partial_bytes: u32,
    pub(super) peer_ended: bool,
    pub(super) own_end: OwnEnd,
    /// Another process may go on with this connection: it must not be used here.
    pub(super) is_captured: bool,
}

/// Whether our side has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OwnEnd {
    Open,
    /// The socket is shut down once the backlog is written.
    Pending,
    Done,
}

impl TlsBuffers {
    pub(super) fn new(max_partial_bytes: usize) -> Self {
        Self {
            partial: PartialRecords::default(),
            plain: Backlog::default(),
            violation: None,
            backlog: Backlog::default(),
            // One record has to fit, and no message is longer than the upper bound.
            max_partial_bytes: max_partial_bytes.clamp(MAX_RECORD_BYTES, MAX_HANDSHAKE_BYTES)
                as u32,
            peer_ended: false,
            own_end: OwnEnd::Open,
            is_captured: false,
        }
    }

    /// Keeps less from now on.
    pub(super) fn end_handshake(&mut self) {
        self.max_partial_bytes = MAX_SESSION_BYTES as u32;
    }

    /// Reads the socket once; returns the number of plaintext bytes in `buf`. If the peer violates
    /// TLS, `violation` is set, and our alert is in the outbox.
    pub(super) fn read(
        &mut self,
        records: &mut impl ReadRecords,
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
        Ok(Poll::Ready(self.decrypt(records, inbox.bytes_mut(), outbox, buf)))
    }

    /// Decrypts what has arrived; returns the number of plaintext bytes in `buf`.
    pub(super) fn decrypt(
        &mut self,
        records: &mut impl ReadRecords,
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
            plain.keep(&plaintext[fits..]);
        };
        let read = read_records(records, &mut self.partial, wire, outbox, &mut give);
        self.peer_ended |= records.peer_has_closed();
        let max = self.max_partial_bytes as usize;
        let has_too_much = self.partial.len() + records.kept_bytes() > max;
        match read {
            Err(error) => self.violation = Some(Box::new(TlsViolation::Tls(error))),
            Ok(()) if has_too_much => {
                self.partial.append_invalid_record();
                let _ = records.read(self.partial.bytes_mut(), outbox, |_| {});
                self.violation = Some(Box::new(TlsViolation::TooManyPartialBytes(max)));
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
        let sent = if self.backlog.is_empty() { socket.try_send(records)? } else { Poll::Pending };
        let sent = if let Poll::Ready(sent) = sent { sent } else { 0 };
        self.backlog.keep(&records[sent..]);
        Ok(())
    }

    /// Moves the backlog to the outbox, to be written in one call with what comes next.
    pub(super) fn join_backlog(&mut self, outbox: &mut Buffer) {
        if !self.backlog.is_empty() {
            outbox.extend(self.backlog.bytes());
            self.backlog.clear();
        }
    }

    pub(super) fn flush(&mut self, socket: &Socket) -> Poll<io::Result<()>> {
        self.backlog.flush(|bytes| socket.try_send(bytes))
    }
}

/// Passes on everything that can be used now: each byte once, and in place where possible.
///
/// During the handshake, records are passed on one by one. What follows its last one stays in
/// `partial`, for the record layer.
fn read_records(
    records: &mut impl ReadRecords,
    partial: &mut PartialRecords,
    mut wire: &mut [u8],
    outbox: &mut Buffer,
    give: &mut impl FnMut(&[u8]),
) -> Result<(), Error> {
    let is_handshake = records.is_handshaking();
    while !wire.is_empty() && (partial.len() > 0 || is_handshake) {
        let (taken, is_complete) = partial.complete(wire);
        wire = &mut wire[taken..];
        // The first byte of what is not TLS tells so, even if no more follows.
        if is_complete || (is_handshake && wire.is_empty()) {
            let used = records.read(partial.bytes_mut(), outbox, &mut *give)?;
            if is_complete {
                partial.discard(used);
            }
        }
        if is_handshake && !records.is_handshaking() {
            // No message may be protected by two keys.
            if partial.len() > 0 {
                return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
            }
            break;
        }
    }
    if !wire.is_empty() {
        let whole = whole_records(wire);
        let used = if is_handshake { 0 } else { records.read(wire, outbox, give)? };
        partial.keep(&wire[used..], whole.saturating_sub(used));
    }
    partial.shrink();
    Ok(())
}
