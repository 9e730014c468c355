//! The record layer against rustls, which makes the handshake, and reads and writes the other side.

mod after_close;
mod against_rustls;
mod arbitrary;
mod data;
mod forger;
mod key_updates;
mod limits;
mod sizes;
mod state;
mod vectors;

use std::{
    io::{Read, Write},
    rc::Rc,
    sync::{Arc, LazyLock},
};

use rustls::{
    CipherSuite, ClientConfig, Connection, Error, RootCertStore, ServerConfig, Side,
    SupportedCipherSuite,
    client::UnbufferedClientConnection,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::UnbufferedServerConnection,
    version::{TLS12, TLS13},
};

use super::{RecordLayer, TlsWrite};
use crate::{
    net::{
        aead_keys::AeadKeys,
        buffer::Buffer,
        stream::tls::{connection::TlsConnection, handshake::Handshake, records::ReadRecords},
    },
    tls::secret_capture,
};

const MAY_HOLD: usize = 30_000;

/// All suites of the configuration: three of TLS 1.3 and six of TLS 1.2.
fn suites() -> impl Iterator<Item = SupportedCipherSuite> + Clone {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().copied()
}

/// All suites, in both roles.
fn all() -> impl Iterator<Item = (SupportedCipherSuite, Side)> + Clone {
    suites().flat_map(|suite| [(suite, Side::Server), (suite, Side::Client)])
}

fn suite(name: CipherSuite) -> SupportedCipherSuite {
    suites().find(|suite| suite.suite() == name).unwrap()
}

/// A certificate and its key, one for each kind of signature.
struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, key: key.serialize_der() }
    }

    fn of(suite: SupportedCipherSuite) -> &'static Self {
        static ECDSA: LazyLock<Identity> =
            LazyLock::new(|| Identity::new(&rcgen::PKCS_ECDSA_P256_SHA256));
        static RSA: LazyLock<Identity> = LazyLock::new(|| Identity::new(&rcgen::PKCS_RSA_SHA256));
        let name = suite.suite().as_str().unwrap();
        if name.contains("_RSA_") { &RSA } else { &ECDSA }
    }
}

/// Both sides' configurations.
fn configs(suite: SupportedCipherSuite) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let identity = Identity::of(suite);
    let provider = CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
    let provider = Arc::new(provider);
    let versions: &[_] = match suite {
        SupportedCipherSuite::Tls12(_) => &[&TLS12],
        SupportedCipherSuite::Tls13(_) => &[&TLS13],
    };
    let key = PrivateKeyDer::try_from(identity.key.clone()).unwrap();
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(identity.certificate.clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server.enable_secret_extraction, client.enable_secret_extraction) = (true, true);
    (server.key_log, client.key_log) = (secret_capture(), secret_capture());
    (Arc::new(server), Arc::new(client))
}

/// A connection whose handshake is over. Ours is still rustls'.
struct Shaken {
    ours: Box<TlsConnection>,
    /// What the peer sent behind its handshake: its tickets.
    rest: Vec<u8>,
    peer: Connection,
}

fn shake_hands(suite: SupportedCipherSuite, side: Side) -> Shaken {
    let (server, client) = configs(suite);
    let name = "localhost".try_into().unwrap();
    let (ours, mut peer): (_, Connection) = match side {
        Side::Server => {
            let ours = UnbufferedServerConnection::new(server).unwrap();
            let peer = rustls::ClientConnection::new(client, name).unwrap();
            (TlsConnection::server(ours, usize::MAX), peer.into())
        }
        Side::Client => {
            let ours = UnbufferedClientConnection::new(client, name).unwrap();
            (TlsConnection::client(ours), rustls::ServerConnection::new(server).unwrap().into())
        }
    };
    let mut ours = Handshake::new(ours, MAY_HOLD);
    let mut outbox = Buffer::default();
    ours.connection.read(&mut [], &mut outbox, |_| {}).unwrap();
    while ours.connection.is_handshaking() || peer.is_handshaking() || !outbox.is_empty() {
        read_as_peer(&mut peer, outbox.bytes()).unwrap();
        outbox = Buffer::default();
        let mut wire = written(&mut peer);
        if ours.connection.is_handshaking() {
            ours.buffers.decrypt(&mut *ours.connection, &mut wire, &mut outbox, &mut []);
            assert!(ours.buffers.violation.is_none());
        } else {
            ours.buffers.partial.keep(&wire, 0);
        }
    }
    Shaken { ours: ours.connection, rest: ours.buffers.partial.take(), peer }
}

/// What the peer sends.
fn written(peer: &mut Connection) -> Vec<u8> {
    let mut wire = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut wire).unwrap();
    }
    wire
}

/// The plaintext that the peer reads from `wire`.
fn read_as_peer(peer: &mut Connection, mut wire: &[u8]) -> Result<Vec<u8>, Error> {
    let mut plaintext = Vec::new();
    while !wire.is_empty() {
        peer.read_tls(&mut wire).unwrap();
        peer.process_new_packets()?;
        // WouldBlock at the end, 0 after close_notify.
        let _ = peer.reader().read_to_end(&mut plaintext);
    }
    Ok(plaintext)
}

/// A record layer and its peer.
struct Pair {
    ours: RecordLayer,
    peer: Connection,
}

impl Pair {
    fn new(suite: SupportedCipherSuite, side: Side) -> Self {
        let Shaken { ours, mut rest, peer } = shake_hands(suite, side);
        let mut ours = ours.into_records(Rc::new(AeadKeys::default())).unwrap();
        assert_eq!(read(&mut ours, &mut rest), Ok((Vec::new(), Vec::new())));
        Self { ours, peer }
    }

    /// Sends `data` to the peer.
    #[track_caller]
    fn send(&mut self, data: &[u8]) {
        let mut outbox = Buffer::default();
        self.ours.write(TlsWrite::Data(data), &mut outbox).unwrap();
        let received = read_as_peer(&mut self.peer, outbox.bytes()).unwrap();
        assert!(received == data, "{} bytes", data.len());
    }

    /// The peer's records with `data`.
    fn encrypted(&mut self, data: &[u8]) -> Vec<u8> {
        self.peer.writer().write_all(data).unwrap();
        written(&mut self.peer)
    }

    /// Makes the peer send `data`.
    #[track_caller]
    fn receive(&mut self, data: &[u8]) {
        let mut wire = self.encrypted(data);
        let (received, outbox) = read(&mut self.ours, &mut wire).unwrap();
        assert!(received == data, "{} bytes", data.len());
        assert_eq!(outbox, b"");
    }
}

/// The plaintext of `wire`, which is read completely, and what is sent in return.
fn read(ours: &mut RecordLayer, wire: &mut [u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let (mut plaintext, mut outbox) = (Vec::new(), Buffer::default());
    let consumed = ours.read(wire, &mut outbox, |data| plaintext.extend_from_slice(data))?;
    assert!(consumed == wire.len() || ours.peer_has_closed(), "{consumed} of {}", wire.len());
    Ok((plaintext, outbox.bytes().to_vec()))
}
