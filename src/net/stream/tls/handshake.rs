//! From a socket to a TLS connection, on either side.

use std::{borrow::Cow, future::poll_fn, io, sync::Arc, task::Poll};

use rustls::{
    CipherSuite, ClientConfig, Error, ProtocolVersion, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::{CertificateDer, ServerName},
    server::UnbufferedServerConnection,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    State, Tls,
    client_hello::HostReader,
    connection::Connection,
    fault::{Fault, too_much},
    held::{MOST_IN_HANDSHAKE, MOST_IN_SESSION},
    resumed::still_valid,
};
use crate::{
    net::{buffer::Buffer, socket::Socket, stream::protocol_prefix::read_protocol_prefix},
    proto::{
        TlsFacts,
        first_bytes::{DetectedProtocol, Detection, detect_protocol},
    },
};

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The client left before it had said anything. Likely: a check that only connects.
    #[error("nothing was sent")]
    Silent(#[source] Option<io::Error>),
    /// Likely: a client that gave up.
    #[error("the TLS handshake was not finished")]
    Closed,
    #[error("{0}")]
    Io(#[source] io::Error),
    /// Likely: it does not trust our certificate, or has nothing in common with our configuration.
    #[error("the other side ended the TLS handshake with the alert {0:?}")]
    Alert(rustls::AlertDescription),
    /// The other side's certificate was not taken.
    #[error("TLS: {0}")]
    Certificate(#[source] Error),
    /// Likely: no TLS at all, or a version of it that is not supported.
    #[error("TLS: {error}{hint}")]
    Protocol {
        #[source]
        error: Error,
        hint: &'static str,
    },
    /// Likely: an attack, as no library cuts its messages into so many records.
    #[error("{}", too_much(*.0))]
    Held(usize),
}

/// A handshake with a client.
pub(in crate::net::stream) struct Accepting {
    tls: Tls,
    /// How the client began, to tell what it took this port for.
    first: Vec<u8>,
    host: HostReader,
}

impl Accepting {
    /// `first` is what the client has been heard to say already; `may_hold`, how many bytes of
    /// messages that have not come whole it may leave here.
    pub(in crate::net::stream) fn new(
        config: &Arc<ServerConfig>,
        first: Vec<u8>,
        may_hold: usize,
    ) -> Result<Self, TlsError> {
        let connection = UnbufferedServerConnection::new(config.clone());
        let connection = Connection::server(connection.map_err(|error| TlsError::of(error, &[]))?);
        Ok(Self { tls: Tls::new(connection, may_hold), first, host: HostReader::default() })
    }

    pub(in crate::net::stream) async fn run(
        mut self,
        socket: &Socket,
    ) -> Result<(Tls, TlsFacts), TlsError> {
        let mut heard = std::mem::take(&mut self.first);
        let (first, host) = (&mut self.first, &mut self.host);
        let look = &mut |wire: &[u8]| {
            first.extend_from_slice(&wire[..wire.len().min(LOOKED_AT - first.len())]);
            host.read(wire);
        };
        let tls = &self.tls;
        let shaken = poll_fn(|cx| {
            socket.watch(cx);
            let state = &mut *tls.state.borrow_mut();
            state.shake_hands(socket, std::mem::take(&mut heard), look)
        });
        match shaken.await {
            Ok(()) => {
                let valid = still_valid(&self.tls.state.borrow().connection);
                if let Err(error) = valid {
                    self.tls.state.into_inner().refuse_expired(socket);
                    return Err(TlsError::Certificate(error));
                }
                let facts = facts(&self.tls.state.borrow().connection, self.host.server_name());
                self.tls.state.borrow_mut().acknowledge(socket).map_err(TlsError::Io)?;
                Ok((self.tls, facts))
            }
            Err(Failure::Closed) if self.first.is_empty() => Err(TlsError::Silent(None)),
            Err(Failure::Io(error)) if self.first.is_empty() => Err(TlsError::Silent(Some(error))),
            Err(failure) => {
                if matches!(failure, Failure::Peer(_)) {
                    read_protocol_prefix(socket, &mut self.first).await;
                }
                Err(failure.after(&self.first))
            }
        }
    }
}

/// A handshake with a broker.
pub struct ClientTlsHandshake(Tls);

impl ClientTlsHandshake {
    /// Begins a handshake with whoever can show a certificate of `name`.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        let connection = UnbufferedClientConnection::new(config, name);
        let mut connection =
            Connection::client(connection.map_err(|error| TlsError::of(error, &[]))?);
        let mut outbox = Buffer::default();
        let hello = connection.read(&mut [], &mut outbox, |_| {});
        hello.map_err(|error| TlsError::of(error, &[]))?;
        let tls = Tls::new(connection, MOST_IN_HANDSHAKE);
        tls.state.borrow_mut().backlog.keep(outbox.bytes());
        Ok(Self(tls))
    }

    /// The first message, which the socket is to be given before the rest of the handshake.
    pub fn hello(&self) -> Vec<u8> {
        self.0.state.borrow().backlog.bytes().to_vec()
    }

    /// Goes on over a socket that has been given the first message.
    pub(in crate::net::stream) async fn run(self, socket: &Socket) -> Result<Tls, TlsError> {
        self.0.state.borrow_mut().backlog.clear();
        let shaken = poll_fn(|cx| {
            socket.watch(cx);
            self.0.state.borrow_mut().shake_hands(socket, Vec::new(), &mut |_| {})
        });
        match shaken.await {
            Ok(()) => Ok(self.0),
            Err(failure) => Err(failure.after(&[])),
        }
    }
}

/// Bytes that tell one protocol from another: as many as the longest signature of a PROXY header.
const LOOKED_AT: usize = 12;

enum Failure {
    Closed,
    Io(io::Error),
    Peer(Fault),
}

impl Failure {
    /// `first`: how the other side began.
    fn after(self, first: &[u8]) -> TlsError {
        match self {
            Self::Closed => TlsError::Closed,
            Self::Io(error) => TlsError::Io(error),
            Self::Peer(Fault::Tls(error)) => TlsError::of(error, first),
            Self::Peer(Fault::Held(most)) => TlsError::Held(most),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl State {
    /// Goes as far as it can. `heard` has been read before; `look` sees all that is read.
    fn shake_hands(
        &mut self,
        socket: &Socket,
        mut heard: Vec<u8>,
        look: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<(), Failure>> {
        loop {
            if !self.connection.is_handshaking() {
                self.may_hold = MOST_IN_SESSION;
                // What TLS 1.3 has still to say can go with the first thing that is written. In 1.2
                // the other side waits for our last word.
                if self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                    return Poll::Ready(Ok(()));
                }
                return self.flush(socket).map_err(Failure::from);
            }
            if self.flush(socket)?.is_pending() {
                return Poll::Pending;
            }
            let outbox = &mut *socket.buffers().outbox.lend();
            let read = if heard.is_empty() {
                self.read(socket, outbox, &mut [], look)
            } else {
                look(&heard);
                Ok(Poll::Ready(self.take_in(&mut std::mem::take(&mut heard), outbox, &mut [])))
            };
            // Behind a CONNECT that has come, a fault is for those who read that.
            let is_handshaking = self.connection.is_handshaking();
            let fault = self.fault.take_if(|_| is_handshaking || self.plain.is_empty());
            if !outbox.is_empty() {
                if is_handshaking || fault.is_some() {
                    self.send(socket, outbox.bytes())?;
                } else {
                    self.backlog.keep(outbox.bytes());
                }
            }
            if let Some(fault) = fault {
                return Poll::Ready(Err(Failure::Peer(*fault)));
            }
            match read? {
                Poll::Ready(_) if self.ended => return Poll::Ready(Err(Failure::Closed)),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends the tickets to a client whose CONNECT has not come with the end of its handshake.
    ///
    /// Unless it has set TCP_NODELAY, it sends no more before that is acknowledged (RFC 896), which
    /// the kernel would put off for 40 ms. With the CONNECT here already, they go with the CONNACK.
    fn acknowledge(&mut self, socket: &Socket) -> io::Result<()> {
        if self.plain.is_empty() {
            // What the socket does not take goes with what is written next.
            let _ = self.flush(socket)?;
        }
        Ok(())
    }
}

impl TlsError {
    /// `first`: how the other side began.
    fn of(error: Error, first: &[u8]) -> Self {
        match error {
            Error::AlertReceived(alert) => Self::Alert(alert),
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => {
                Self::Certificate(error)
            }
            error @ Error::PeerIncompatible(_) => {
                let hint = "; it offers no version from min_version (TLS 1.2 or 1.3) on, or no \
                            cipher or key exchange of those";
                Self::Protocol { error, hint }
            }
            error => Self::Protocol { error, hint: hint(first) },
        }
    }
}

/// What a client that spoke no TLS took this port for.
fn hint(first: &[u8]) -> &'static str {
    match detect_protocol(first) {
        Detection::Protocol(DetectedProtocol::Mqtt) => {
            "; it began with a CONNECT: plain MQTT belongs to a listener without tls"
        }
        Detection::Protocol(DetectedProtocol::Http) => {
            "; it began with an HTTP request in the clear"
        }
        Detection::Protocol(DetectedProtocol::ProxyHeader) => {
            "; it began with a PROXY header, which the listener has no accept_proxy_protocol for"
        }
        _ => "",
    }
}

fn facts(connection: &Connection, server_name: Option<Box<str>>) -> TlsFacts {
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    TlsFacts {
        version: connection.protocol_version().map(|version| match version {
            ProtocolVersion::TLSv1_3 => Cow::Borrowed("TLSv1.3"),
            ProtocolVersion::TLSv1_2 => Cow::Borrowed("TLSv1.2"),
            other => Cow::Owned(format!("{other:?}")),
        }),
        cipher: connection.negotiated_cipher_suite().map(|suite| match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Cow::Borrowed("TLS_AES_128_GCM_SHA256"),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Cow::Borrowed("TLS_AES_256_GCM_SHA384"),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => {
                Cow::Borrowed("TLS_CHACHA20_POLY1305_SHA256")
            }
            other => match other.as_str() {
                Some(name) => Cow::Borrowed(name),
                None => Cow::Owned(format!("{other:?}")),
            },
        }),
        sni: server_name,
        has_certificate: certificate.is_some(),
        common_name: certificate.and_then(common_name),
        alpn: connection.alpn_protocol().map(Box::from),
    }
}

/// The first common name of a certificate's subject (RFC 5280, section 4.1.2.6).
fn common_name(certificate: &CertificateDer<'_>) -> Option<Box<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(Box::from)
}
