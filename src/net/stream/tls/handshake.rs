//! The steps of a handshake that both sides share.

use std::task::Poll;

use rustls::ProtocolVersion;

use super::{error::HandshakeFailure, partial_records::MAX_SESSION_BYTES, state::TlsState};
use crate::net::socket::Socket;

/// Advances as far as the available bytes allow. `already_read` comes before the socket's bytes;
/// `inspect` sees everything that is read.
pub(super) fn advance_handshake(
    state: &mut TlsState,
    socket: &Socket,
    mut already_read: Vec<u8>,
    inspect: &mut impl FnMut(&[u8]),
) -> Poll<Result<(), HandshakeFailure>> {
    loop {
        if !state.connection.is_handshaking() {
            state.max_partial_bytes = MAX_SESSION_BYTES;
            // In TLS 1.3 the rest of our messages can go with the first write. In 1.2 the peer
            // waits for our last message.
            if state.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                return Poll::Ready(Ok(()));
            }
            return state.flush(socket).map_err(HandshakeFailure::from);
        }
        if state.flush(socket)?.is_pending() {
            return Poll::Pending;
        }
        let outbox = &mut *socket.buffers().outbox.lend();
        let read = if already_read.is_empty() {
            state.read(socket, outbox, &mut [], inspect)
        } else {
            inspect(&already_read);
            let mut wire = std::mem::take(&mut already_read);
            Ok(Poll::Ready(state.decrypt(&mut wire, outbox, &mut [])))
        };
        // A violation that follows a CONNECT is reported to the reader of the CONNECT.
        let is_handshaking = state.connection.is_handshaking();
        let violation = state.violation.take_if(|_| is_handshaking || state.plain.is_empty());
        if !outbox.is_empty() {
            if is_handshaking || violation.is_some() {
                state.send(socket, outbox.bytes())?;
            } else {
                state.backlog.keep(outbox.bytes());
            }
        }
        if let Some(violation) = violation {
            return Poll::Ready(Err(HandshakeFailure::Violation(*violation)));
        }
        match read? {
            Poll::Ready(_) if state.peer_ended => {
                return Poll::Ready(Err(HandshakeFailure::Closed));
            }
            Poll::Ready(_) => {}
            Poll::Pending => return Poll::Pending,
        }
    }
}
