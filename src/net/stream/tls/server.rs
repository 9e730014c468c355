//! The TLS handshake with a client.

use std::{future::poll_fn, io, sync::Arc};

use rustls::{ServerConfig, server::UnbufferedServerConnection};

use super::{
    connection::TlsConnection,
    error::{HandshakeFailure, TlsError},
    facts::facts,
    handshake::advance_handshake,
    layer::TlsLayer,
    resumed::check_not_expired,
    state::TlsState,
};
use crate::{
    net::{socket::Socket, stream::protocol_prefix::read_protocol_prefix},
    proto::{TlsFacts, client_hello::ClientHelloReader},
};

/// Bytes that suffice to identify a protocol: the longest signature of a PROXY header.
const PREFIX_BYTES: usize = 12;

/// A handshake with a client.
pub(in crate::net) struct ServerTlsHandshake {
    tls: TlsLayer,
    /// The client's first bytes: those read before, and from [`Self::run`] on at most
    /// [`PREFIX_BYTES`] of them, to detect another protocol.
    first: Vec<u8>,
    hello: ClientHelloReader,
    server_name: Option<Box<str>>,
}

impl ServerTlsHandshake {
    /// `first`: bytes already read; `max_partial_bytes`: how many bytes of incomplete messages are
    /// kept.
    pub(in crate::net) fn new(
        config: &Arc<ServerConfig>,
        first: Vec<u8>,
        max_partial_bytes: usize,
    ) -> Result<Self, TlsError> {
        let connection = UnbufferedServerConnection::new(config.clone());
        let connection =
            TlsConnection::server(connection.map_err(|error| TlsError::new(error, &[]))?);
        let tls = TlsLayer::new(connection, max_partial_bytes);
        Ok(Self { tls, first, hello: ClientHelloReader::default(), server_name: None })
    }

    pub(in crate::net) async fn run(
        mut self,
        socket: &Socket,
    ) -> Result<(TlsLayer, TlsFacts), TlsError> {
        let mut already_read = std::mem::take(&mut self.first);
        let first = &mut self.first;
        let (hello, server_name) = (&mut self.hello, &mut self.server_name);
        let inspect = &mut |wire: &[u8]| {
            first.extend_from_slice(&wire[..wire.len().min(PREFIX_BYTES - first.len())]);
            // What is not a ClientHello, rustls reports.
            if let Ok(Some(hello)) = hello.read(wire) {
                *server_name = hello.server_name;
            }
        };
        let tls = &self.tls;
        let finished = poll_fn(|cx| {
            socket.watch(cx);
            let state = &mut *tls.state.borrow_mut();
            advance_handshake(state, socket, std::mem::take(&mut already_read), inspect)
        });
        match finished.await {
            Ok(()) => self.finish(socket),
            Err(HandshakeFailure::Closed) if self.first.is_empty() => Err(TlsError::Silent(None)),
            Err(HandshakeFailure::Io(error)) if self.first.is_empty() => {
                Err(TlsError::Silent(Some(error)))
            }
            Err(failure) => {
                if matches!(failure, HandshakeFailure::Violation(_)) {
                    read_protocol_prefix(socket, &mut self.first).await;
                }
                Err(failure.explain(&self.first))
            }
        }
    }

    fn finish(self, socket: &Socket) -> Result<(TlsLayer, TlsFacts), TlsError> {
        let valid = check_not_expired(&self.tls.state.borrow().connection);
        if let Err(error) = valid {
            self.tls.state.into_inner().send_certificate_expired(socket);
            return Err(TlsError::Certificate(error));
        }
        let facts = facts(&self.tls.state.borrow().connection, self.server_name);
        send_tickets(&mut self.tls.state.borrow_mut(), socket).map_err(TlsError::Io)?;
        Ok((self.tls, facts))
    }
}

/// Sends the session tickets to a client whose CONNECT did not arrive with the end of its
/// handshake.
///
/// Unless the client has set TCP_NODELAY, it sends nothing more until its last segment is
/// acknowledged (RFC 896), which the kernel would delay by 40 ms. If the CONNECT has already
/// arrived, the tickets go with the CONNACK.
fn send_tickets(state: &mut TlsState, socket: &Socket) -> io::Result<()> {
    if state.plain.is_empty() {
        // Bytes that the socket does not take go with the next write.
        let _ = state.flush(socket)?;
    }
    Ok(())
}
