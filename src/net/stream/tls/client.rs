//! The TLS handshake with a broker.

use std::{future::poll_fn, sync::Arc};

use rustls::{ClientConfig, client::UnbufferedClientConnection, pki_types::ServerName};

use super::records::ReadRecords;
use super::{
    connection::TlsConnection, error::TlsError, handshake::Handshake, layer::TlsLayer,
    partial_records::MAX_HANDSHAKE_BYTES,
};
use crate::net::{buffer::Buffer, socket::Socket};

/// A handshake with a broker.
pub(crate) struct ClientTlsHandshake(Handshake);

impl ClientTlsHandshake {
    /// Begins a handshake with a server whose certificate must be valid for `name`.
    pub(crate) fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, TlsError> {
        let connection = UnbufferedClientConnection::new(config, name);
        let mut connection =
            TlsConnection::client(connection.map_err(|error| TlsError::new(error, &[]))?);
        let mut outbox = Buffer::default();
        let hello = connection.read(&mut [], &mut outbox, |_| {});
        hello.map_err(|error| TlsError::new(error, &[]))?;
        let mut handshake = Handshake::new(connection, MAX_HANDSHAKE_BYTES);
        handshake.buffers.backlog.keep(outbox.bytes());
        Ok(Self(handshake))
    }

    /// The ClientHello, which must be written to the socket before [`Self::run`].
    pub(crate) fn hello(&self) -> Vec<u8> {
        self.0.buffers.backlog.bytes().to_vec()
    }

    /// Continues over a socket to which the ClientHello has been written.
    pub(in crate::net) async fn run(mut self, socket: &Socket) -> Result<TlsLayer, TlsError> {
        self.0.buffers.backlog.clear();
        let finished = poll_fn(|cx| {
            socket.watch(cx);
            self.0.advance(socket, &mut |_| {})
        });
        match finished.await {
            Ok(()) => Ok(TlsLayer::new(self.0.establish(socket)?)),
            Err(failure) => Err(failure.explain(&[])),
        }
    }
}
