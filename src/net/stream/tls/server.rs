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
    state::{Restart, TlsState},
};
use crate::{
    net::{socket::Socket, stream::protocol_prefix::read_protocol_prefix},
    proto::{
        TlsFacts,
        client_hello::{ClientHelloReader, handshake_record},
    },
    tls::{ServerTls, hide_server_name},
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
    ignored_name: Option<Box<str>>,
    without_sni: Arc<ServerConfig>,
}

impl ServerTlsHandshake {
    /// `first`: bytes already read; `max_partial_bytes`: how many bytes of incomplete messages are
    /// kept.
    pub(in crate::net) fn new(
        tls: &ServerTls,
        first: Vec<u8>,
        max_partial_bytes: usize,
    ) -> Result<Self, TlsError> {
        let connection = UnbufferedServerConnection::new(tls.config.clone());
        let connection =
            TlsConnection::server(connection.map_err(|error| TlsError::new(error, &[]))?);
        let layer = TlsLayer::new(connection, max_partial_bytes);
        Ok(Self {
            tls: layer,
            first,
            hello: ClientHelloReader::default(),
            server_name: None,
            ignored_name: None,
            without_sni: tls.without_sni.clone(),
        })
    }

    pub(in crate::net) async fn run(
        mut self,
        socket: &Socket,
    ) -> Result<(TlsLayer, TlsFacts), TlsError> {
        let mut already_read = std::mem::take(&mut self.first);
        let first = &mut self.first;
        let (hello, without_sni) = (&mut self.hello, &self.without_sni);
        let (server_name, ignored_name) = (&mut self.server_name, &mut self.ignored_name);
        let inspect = &mut |wire: &[u8]| {
            first.extend_from_slice(&wire[..wire.len().min(PREFIX_BYTES - first.len())]);
            // What is not a ClientHello, rustls reports.
            let hello = hello.read(wire).ok().flatten()?;
            *server_name = hello.server_name;
            *ignored_name = hello.ignored_name;
            restart(without_sni, hello.refused?)
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
        let facts = facts(&self.tls.state.borrow().connection, self.server_name, self.ignored_name);
        send_tickets(&mut self.tls.state.borrow_mut(), socket).map_err(TlsError::Io)?;
        Ok((self.tls, facts))
    }
}

/// Begins again without the server name of this ClientHello, which rustls would refuse.
///
/// It does not help a client that has to send a second ClientHello, which has the name again; those
/// support no group that it sent a key share for.
fn restart(config: &Arc<ServerConfig>, mut hello: Vec<u8>) -> Option<Restart> {
    if !hide_server_name(&mut hello) {
        return None;
    }
    let connection = UnbufferedServerConnection::new(config.clone()).ok()?;
    let wire = handshake_record(&hello)?;
    Some(Restart { connection: TlsConnection::server(connection), wire })
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
