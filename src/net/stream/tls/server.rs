//! The TLS handshake with a client.

use std::{future::poll_fn, io, task::Poll};

use rustls::{AlertDescription, ServerConfig, server::UnbufferedServerConnection};

use super::{
    buffers::TlsBuffers,
    connection::TlsConnection,
    error::{HandshakeFailure, TlsError},
    facts::facts,
    handshake::Handshake,
    layer::TlsLayer,
    partial_records::{HEADER_BYTES as RECORD_HEADER_BYTES, MAX_RECORD_BYTES},
    resumed::check_not_expired,
    state::TlsState,
};
use crate::{
    net::{socket::Socket, stream::protocol_prefix::read_protocol_prefix},
    proto::{
        TlsFacts,
        client_hello::{ClientHello, ClientHelloReader, handshake_record},
    },
    tls::{TlsServer, hide_server_name},
};

/// Bytes that suffice to identify a protocol: the longest signature of a PROXY header.
const PREFIX_BYTES: usize = 12;

/// The server name in the ClientHello, and one that is not a host name.
type RequestedNames = (Option<Box<str>>, Option<Box<str>>);

/// A handshake with a client.
pub(in crate::net) struct ServerTlsHandshake {
    /// The bytes received so far; from the ClientHello on, at most [`PREFIX_BYTES`] of them, to
    /// detect another protocol.
    first: Vec<u8>,
    max_partial_bytes: usize,
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
        let hello = match self.read_client_hello(socket).await {
            Ok(hello) => hello,
            Err(failure) => return Err(self.explain(failure, socket).await),
        };
        let (mut handshake, names, mut already_read) =
            self.begin(hello.unwrap_or_default(), config)?;
        let first = &mut self.first;
        let mut is_already_read = true;
        let inspect = &mut |wire: &[u8]| {
            if !std::mem::take(&mut is_already_read) {
                first.extend_from_slice(&wire[..wire.len().min(PREFIX_BYTES - first.len())]);
            }
        };
        let finished = poll_fn(|cx| {
            socket.watch(cx);
            handshake.advance(socket, std::mem::take(&mut already_read), inspect)
        });
        match finished.await {
            Ok(()) => finish(handshake, names, socket),
            Err(failure) => Err(self.explain(failure, socket).await),
        }
    }

    /// Reads until the ClientHello is complete; `None` if something else arrives, which rustls then
    /// reports. The reader bounds how much is read.
    async fn read_client_hello(
        &mut self,
        socket: &Socket,
    ) -> Result<Option<ClientHello>, HandshakeFailure> {
        let mut reader = ClientHelloReader::default();
        let mut seen = 0;
        poll_fn(|cx| {
            socket.watch(cx);
            loop {
                match reader.read(&self.first[seen..]) {
                    Ok(None) => {}
                    read => return Poll::Ready(Ok(read.unwrap_or_default())),
                }
                seen = self.first.len();
                let inbox = &mut *socket.buffers().inbox.lend();
                let received = inbox.receive(MAX_RECORD_BYTES, |room| socket.try_recv(room))?;
                match received {
                    Poll::Ready(0) => return Poll::Ready(Err(HandshakeFailure::Closed)),
                    Poll::Ready(_) => self.first.extend_from_slice(inbox.bytes()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// The connection, the names that the client asks for, and the bytes to be read first. Not part
    /// of [`Self::run`], whose future would keep room for all that is needed here.
    fn begin(
        &mut self,
        hello: ClientHello,
        config: &TlsServer,
    ) -> Result<(Handshake, RequestedNames, Vec<u8>), TlsError> {
        let without_name = hello.refused.and_then(without_name);
        let config = match without_name {
            Some(_) => config.without_sni(),
            None => config.config_for(hello.prefers_chacha20),
        };
        let connection = UnbufferedServerConnection::new(config.clone());
        let connection = connection.map_err(|error| TlsError::new(error, &[]))?;
        let connection = TlsConnection::server(connection, max_plaintext_bytes(config));
        let handshake = Handshake::new(connection, self.max_partial_bytes);
        let prefix = self.first[..self.first.len().min(PREFIX_BYTES)].to_vec();
        let received = std::mem::replace(&mut self.first, prefix);
        let names = (hello.server_name, hello.ignored_name);
        Ok((handshake, names, without_name.unwrap_or(received)))
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

/// The record of a ClientHello whose server name rustls would refuse, without that name.
///
/// The second ClientHello of a client that has to send one has the name again, and is refused. Such
/// clients sent a key share for no group that this server supports.
fn without_name(mut hello: Vec<u8>) -> Option<Vec<u8>> {
    hide_server_name(&mut hello).then(|| handshake_record(&hello)).flatten()
}

/// The most plaintext in a record to a client, by the configuration of rustls, which counts the
/// header, too.
fn max_plaintext_bytes(config: &ServerConfig) -> usize {
    let max_record_bytes = config.max_fragment_size.unwrap_or(usize::MAX);
    max_record_bytes - RECORD_HEADER_BYTES
}

/// Checks what a resumed handshake leaves unchecked, and lets the client's next packet come at once.
fn finish(
    handshake: Handshake,
    (server_name, ignored_name): RequestedNames,
    socket: &Socket,
) -> Result<(TlsLayer, TlsFacts), TlsError> {
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
