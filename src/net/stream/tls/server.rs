//! The TLS handshake with a client.

use std::{future::poll_fn, io};

use rustls::{AlertDescription, HandshakeKind, ServerConfig, server::UnbufferedServerConnection};

use super::{
    buffers::TlsBuffers,
    connection::TlsConnection,
    error::{HandshakeFailure, TlsError},
    facts::facts,
    handshake::Handshake,
    hello::{read_client_hello, read_second_hello, without_name},
    layer::TlsLayer,
    partial_records::HEADER_BYTES as RECORD_HEADER_BYTES,
    resumed::check_not_expired,
    state::TlsState,
};
use crate::{
    net::{socket::Socket, stream::protocol_prefix::read_protocol_prefix},
    proto::{TlsFacts, client_hello::ClientHello},
    tls::TlsServer,
};

/// Bytes that suffice to identify a protocol: the longest signature of a PROXY header.
const PREFIX_BYTES: usize = 12;

/// A handshake with a client.
pub(in crate::net) struct ServerTlsHandshake {
    /// The bytes received so far; from the ClientHello on, at most [`PREFIX_BYTES`] of them, to
    /// detect another protocol.
    first: Vec<u8>,
    max_partial_bytes: usize,
}

/// A handshake whose ClientHello has been read here, but not by rustls.
struct Begun {
    handshake: Handshake,
    /// The bytes to be read first.
    received: Vec<u8>,
    /// The server name in the ClientHello, and one that is not a host name.
    server_name: Option<Box<str>>,
    ignored_name: Option<Box<str>>,
    /// Whether rustls is not shown the name that is ignored.
    is_hidden: bool,
}

impl ServerTlsHandshake {
    /// `first`: bytes already read; `max_partial_bytes`: how many bytes of incomplete messages are
    /// kept.
    pub(in crate::net) fn new(first: Vec<u8>, max_partial_bytes: usize) -> Self {
        Self { first, max_partial_bytes }
    }

    pub(in crate::net) async fn run(
        mut self,
        config: &TlsServer,
        socket: &Socket,
    ) -> Result<(TlsLayer, TlsFacts), TlsError> {
        let hello = match read_client_hello(&mut self.first, socket).await {
            Ok(hello) => hello,
            Err(failure) => return Err(self.explain(failure, socket).await),
        };
        let mut begun = self.begin(hello.unwrap_or_default(), config)?;
        match self.shake_hands(&mut begun, socket).await {
            Ok(()) => finish(begun, socket),
            Err(failure) => Err(self.explain(failure, socket).await),
        }
    }

    async fn shake_hands(
        &mut self,
        begun: &mut Begun,
        socket: &Socket,
    ) -> Result<(), HandshakeFailure> {
        let Begun { handshake, received, ignored_name, is_hidden, .. } = begun;
        handshake.take(std::mem::take(received), socket)?;
        let kind = handshake.connection.handshake_kind();
        if *is_hidden && kind == Some(HandshakeKind::FullWithHelloRetryRequest) {
            handshake.flush(socket).await?;
            let second = read_second_hello(ignored_name.as_deref(), socket).await?;
            handshake.take(second, socket)?;
        }
        let first = &mut self.first;
        let inspect = &mut |wire: &[u8]| {
            first.extend_from_slice(&wire[..wire.len().min(PREFIX_BYTES - first.len())]);
        };
        poll_fn(|cx| {
            socket.watch(cx);
            handshake.advance(socket, inspect)
        })
        .await
    }

    /// What to continue with. Not part of [`Self::run`], whose future would keep room for all that
    /// is needed here.
    fn begin(&mut self, hello: ClientHello, config: &TlsServer) -> Result<Begun, TlsError> {
        let hidden = hello.refused.and_then(without_name);
        let config = match hidden {
            Some(_) => config.without_sni(),
            None => config.config_for(hello.prefers_chacha20),
        };
        let connection = UnbufferedServerConnection::new(config.clone());
        let connection = connection.map_err(|error| TlsError::new(error, &[]))?;
        let connection = TlsConnection::server(connection, max_plaintext_bytes(config));
        let prefix = self.first[..self.first.len().min(PREFIX_BYTES)].to_vec();
        let received = std::mem::replace(&mut self.first, prefix);
        Ok(Begun {
            handshake: Handshake::new(connection, self.max_partial_bytes),
            server_name: hello.server_name,
            ignored_name: hello.ignored_name,
            is_hidden: hidden.is_some(),
            received: hidden.unwrap_or(received),
        })
    }

    async fn explain(mut self, failure: HandshakeFailure, socket: &Socket) -> TlsError {
        match failure {
            HandshakeFailure::Closed if self.first.is_empty() => TlsError::Silent(None),
            HandshakeFailure::Io(error) if self.first.is_empty() => TlsError::Silent(Some(error)),
            failure => {
                if matches!(failure, HandshakeFailure::Violation(_)) {
                    read_protocol_prefix(socket, &mut self.first).await;
                }
                failure.explain(&self.first)
            }
        }
    }
}

/// The most plaintext in a record to a client, by the configuration of rustls, which counts the
/// header, too.
fn max_plaintext_bytes(config: &ServerConfig) -> usize {
    let max_record_bytes = config.max_fragment_size.unwrap_or(usize::MAX);
    max_record_bytes - RECORD_HEADER_BYTES
}

/// Checks what a resumed handshake leaves unchecked, and lets the client's next packet come at once.
fn finish(begun: Begun, socket: &Socket) -> Result<(TlsLayer, TlsFacts), TlsError> {
    let Begun { handshake, server_name, ignored_name, .. } = begun;
    let valid = check_not_expired(&handshake.connection);
    let facts = facts(&handshake.connection, server_name, ignored_name);
    let mut state = handshake.establish(socket)?;
    if let Err(error) = valid {
        state.send_fatal_alert(AlertDescription::CertificateExpired, socket);
        return Err(TlsError::Certificate(error));
    }
    read_ahead(&mut state, socket).map_err(TlsError::Io)?;
    Ok((TlsLayer::new(state), facts))
}

/// Reads what came right behind the handshake, which is most often the CONNECT. If nothing did, the
/// end of the handshake is acknowledged.
///
/// Unless the client has set TCP_NODELAY, it sends nothing more until its last segment is
/// acknowledged (RFC 896), which the kernel would delay by 40 ms. The session ticket would
/// acknowledge it too, but waits for the CONNACK: a client that publishes and leaves at once has
/// closed its socket by then, answers the ticket with a reset, and its messages would be lost.
fn read_ahead(state: &mut TlsState, socket: &Socket) -> io::Result<()> {
    let TlsBuffers { plain, violation, peer_ended, .. } = &state.buffers;
    if !plain.is_empty() || violation.is_some() || *peer_ended {
        return Ok(());
    }
    socket.assume_readable();
    let outbox = &mut *socket.buffers().outbox.lend();
    let read = state.read(socket, outbox, &mut [])?;
    if !outbox.is_empty() {
        state.buffers.send(socket, outbox.bytes())?;
    }
    if read.is_pending() {
        socket.acknowledge();
    }
    Ok(())
}
