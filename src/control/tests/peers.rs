//! A client and a broker, each over TLS or not.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion, crypto::CryptoProvider, pki_types::PrivateKeyDer, version::TLS12,
};

use crate::tls::secret_capture;

/// More than a session waits for the rest of a packet.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// The upgrade to WebSocket; the key is that of RFC 6455, section 1.3.
const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// TLS of both sides.
pub(super) struct Tls {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl Tls {
    /// TLS 1.2.
    pub(super) fn new(server: Arc<CryptoProvider>, client: Arc<CryptoProvider>) -> Self {
        Self::of_version(&TLS12, server, client)
    }

    pub(super) fn of_version(
        version: &'static SupportedProtocolVersion,
        server: Arc<CryptoProvider>,
        client: Arc<CryptoProvider>,
    ) -> Self {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(server)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issued.cert.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(client)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // As in a proxy.
        client.enable_secret_extraction = true;
        client.key_log = secret_capture();
        Self { server: Arc::new(server), client: Arc::new(client) }
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// One end of a connection.
pub(super) struct Peer {
    tcp: TcpStream,
    wire: Box<dyn Wire>,
    has_frames: bool,
}

impl Peer {
    pub(super) fn connect(address: SocketAddr, tls: Option<&Tls>) -> Self {
        let tcp = prepared(TcpStream::connect(address).unwrap());
        let wire: Box<dyn Wire> = match tls {
            None => Box::new(tcp.try_clone().unwrap()),
            Some(tls) => {
                let name = "localhost".try_into().unwrap();
                let connection = ClientConnection::new(tls.client.clone(), name).unwrap();
                Box::new(StreamOwned::new(connection, tcp.try_clone().unwrap()))
            }
        };
        Self { tcp, wire, has_frames: false }
    }

    /// Accepts the proxy's connection at a broker.
    pub(super) fn accept(listener: &TcpListener, tls: Option<&Tls>) -> Self {
        let tcp = prepared(listener.accept().unwrap().0);
        let wire: Box<dyn Wire> = match tls {
            None => Box::new(tcp.try_clone().unwrap()),
            Some(tls) => {
                let connection = ServerConnection::new(tls.server.clone()).unwrap();
                Box::new(StreamOwned::new(connection, tcp.try_clone().unwrap()))
            }
        };
        Self { tcp, wire, has_frames: false }
    }

    /// Changes to WebSocket, as a client.
    pub(super) fn upgrade(&mut self) {
        self.wire.write_all(UPGRADE).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.wire.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
        self.has_frames = true;
    }

    /// Sends bytes; over TLS in a record, or as many as they need.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let mut sent = Vec::new();
        if self.has_frames {
            assert!(bytes.len() < 126);
            // A zero mask leaves the payload unchanged.
            sent.extend([0x82, 0x80 | bytes.len() as u8, 0, 0, 0, 0]);
        }
        sent.extend(bytes);
        self.wire.write_all(&sent).unwrap();
        self.wire.flush().unwrap();
    }

    /// The socket, for another thread to send what is not encrypted.
    pub(super) fn socket(&self) -> TcpStream {
        self.tcp.try_clone().unwrap()
    }

    /// Receives exactly these bytes; over WebSocket as one message.
    #[track_caller]
    pub(super) fn expect(&mut self, bytes: &[u8]) {
        if self.has_frames {
            let mut header = [0; 2];
            self.wire.read_exact(&mut header).unwrap();
            assert_eq!(header, [0x82, bytes.len() as u8]);
        }
        let mut received = vec![0; bytes.len()];
        self.wire.read_exact(&mut received).unwrap();
        let other = received.iter().zip(bytes).position(|(a, b)| a != b);
        assert!(other.is_none(), "other bytes at {other:?} of {}", bytes.len());
    }

    /// Receives exactly these bytes, whatever they are above TCP or TLS.
    #[track_caller]
    pub(super) fn expect_raw(&mut self, bytes: &[u8]) {
        let mut received = vec![0; bytes.len()];
        self.wire.read_exact(&mut received).unwrap();
        assert_eq!(received, bytes);
    }

    /// Receives bytes until they end like this.
    pub(super) fn expect_until(&mut self, end: &[u8]) {
        let mut received = Vec::new();
        while !received.ends_with(end) {
            let mut byte = [0];
            self.wire.read_exact(&mut byte).unwrap();
            received.extend(byte);
        }
    }

    /// Everything until the end, which has to be an orderly one: over TLS with close_notify.
    #[track_caller]
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.wire.read_to_end(&mut rest).unwrap();
        rest
    }
}

fn prepared(tcp: TcpStream) -> TcpStream {
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    tcp
}
