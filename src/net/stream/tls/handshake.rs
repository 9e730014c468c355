//! The steps of a handshake that both sides share.

use std::{future::poll_fn, io, task::Poll};

use rustls::ProtocolVersion;

use super::{
    buffers::TlsBuffers,
    connection::TlsConnection,
    error::{HandshakeFailure, TlsError},
    state::TlsState,
};
use crate::net::{buffer::Buffer, socket::Socket};

/// A handshake that has begun.
pub(super) struct Handshake {
    /// In a box, as it is large and ends with the handshake.
    pub(super) connection: Box<TlsConnection>,
    pub(super) buffers: TlsBuffers,
}

impl Handshake {
    /// `max_partial_bytes`: how many bytes of incomplete handshake messages are kept.
    pub(super) fn new(connection: TlsConnection, max_partial_bytes: usize) -> Self {
        Self { connection: Box::new(connection), buffers: TlsBuffers::new(max_partial_bytes) }
    }

    /// Reads what was received before.
    pub(super) fn take(
        &mut self,
        mut received: Vec<u8>,
        socket: &Socket,
    ) -> Result<(), HandshakeFailure> {
        let outbox = &mut *socket.buffers().outbox.lend();
        self.buffers.decrypt(&mut *self.connection, &mut received, outbox, &mut []);
        self.answer(outbox, socket)
    }

    /// Advances as far as the available bytes allow; `inspect` sees everything that is read.
    pub(super) fn advance(
        &mut self,
        socket: &Socket,
        inspect: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<(), HandshakeFailure>> {
        loop {
            let Self { connection, buffers } = self;
            if !connection.is_handshaking() {
                // In TLS 1.3 the rest of our messages can go with the first write. In 1.2 the peer
                // waits for our last message.
                if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                    return Poll::Ready(Ok(()));
                }
                return buffers.flush(socket).map_err(HandshakeFailure::from);
            }
            if buffers.flush(socket)?.is_pending() {
                return Poll::Pending;
            }
            let outbox = &mut *socket.buffers().outbox.lend();
            let read = buffers.read(&mut **connection, socket, outbox, &mut [], inspect);
            self.answer(outbox, socket)?;
            if read?.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Sends the rest of the answers.
    pub(super) async fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        poll_fn(|cx| {
            socket.watch(cx);
            self.buffers.flush(socket)
        })
        .await
    }

    /// Sends what rustls answers to what was read.
    fn answer(&mut self, outbox: &Buffer, socket: &Socket) -> Result<(), HandshakeFailure> {
        let Self { connection, buffers } = self;
        let violation = buffers.violation.take();
        if !outbox.is_empty() {
            if connection.is_handshaking() || violation.is_some() {
                buffers.send(socket, outbox.bytes())?;
            } else {
                buffers.backlog.keep(outbox.bytes());
            }
        }
        match violation {
            Some(violation) => Err(HandshakeFailure::Violation(*violation)),
            None if buffers.peer_ended => Err(HandshakeFailure::Closed),
            None => Ok(()),
        }
    }

    /// Passes the keys of a finished handshake on to the record layer, and decrypts what came right
    /// behind the handshake.
    ///
    /// # Errors
    /// rustls does not hand out its keys, or the peer violates TLS right behind the handshake. A
    /// violation that follows a CONNECT is reported to the reader of the CONNECT.
    pub(super) fn establish(self, socket: &Socket) -> Result<TlsState, TlsError> {
        let Self { connection, mut buffers } = self;
        let records = connection.into_records(socket.buffers().keys.clone());
        let mut records = records.map_err(|error| TlsError::new(error, &[]))?;
        buffers.end_handshake();
        let mut wire = buffers.partial.take();
        let outbox = &mut *socket.buffers().outbox.lend();
        buffers.decrypt(&mut records, &mut wire, outbox, &mut []);
        buffers.backlog.keep(outbox.bytes());
        if let Some(violation) = buffers.violation.take_if(|_| buffers.plain.is_empty()) {
            // If the socket has failed, the alert cannot be delivered.
            let _ = buffers.flush(socket);
            return Err(HandshakeFailure::Violation(*violation).explain(&[]));
        }
        Ok(TlsState::new(records, buffers))
    }
}
