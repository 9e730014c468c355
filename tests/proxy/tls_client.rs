//! A client that speaks TLS, and a broker that does.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};

use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig,
    StreamOwned,
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use crate::{
    client::{CONNACK_V3, connect},
    harness::PATIENCE,
    pki::{Ca, Issued, Leaf},
};

/// A record of 32 bytes that no key has made.
pub(crate) const BAD_RECORD: [u8; 37] = {
    let mut record = [0x5A; 37];
    (record[0], record[1], record[2], record[3], record[4]) = (23, 3, 3, 0, 32);
    record
};

/// A CA, and a server's certificate of `localhost` and 127.0.0.1, in the files that `tls` names.
pub(crate) struct Pki {
    pub(crate) ca: Ca,
    pub(crate) dir: tempfile::TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let pki = Self { ca: Ca::new("Test CA"), dir: tempfile::tempdir().unwrap() };
        pki.write("ca.pem", &pki.ca.pem());
        pki.write_issued(
            "server",
            &pki.ca.issue(&Leaf::new("server", &["localhost", "127.0.0.1"])),
        );
        pki
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn write_issued(&self, name: &str, issued: &Issued) {
        self.write(&format!("{name}.pem"), &issued.cert);
        let key = format!("{name}.key");
        self.write(&key, &issued.key);
        fs::set_permissions(self.path().join(key), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The listener's `tls`, with these further keys.
    pub(crate) fn tls(&self, more: &str) -> String {
        let dir = self.path().display();
        let pair = format!("{{ cert: \"{dir}/server.pem\", key: \"{dir}/server.key\" }}");
        format!("tls: {{ certificates: [ {pair} ]{more} }}")
    }

    /// A key of `tls` that names a file.
    pub(crate) fn file(&self, key: &str, name: &str) -> String {
        format!(", {key}: \"{}/{name}\"", self.path().display())
    }

    pub(crate) fn issue(&self, name: &'static str) -> Issued {
        self.ca.issue(&Leaf::new(name, &["localhost", "127.0.0.1"]))
    }

    /// Trusts the CA.
    pub(crate) fn client(&self) -> Trust {
        Trust {
            ca: self.ca.pem(),
            identity: None,
            versions: Versions::Both,
            alpn: Vec::new(),
            suites: Vec::new(),
        }
    }

    /// What a broker with this certificate does; it asks clients for theirs where it has a CA.
    pub(crate) fn server(issued: &Issued, client_ca: Option<&Ca>) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(roots(&ca.pem()));
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (chain, key) = identity(issued);
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Versions {
    Both,
    Only12,
}

/// The CA that a client trusts, and its own identity.
#[derive(Clone)]
pub(crate) struct Trust {
    ca: String,
    identity: Option<(String, String)>,
    versions: Versions,
    alpn: Vec<Vec<u8>>,
    /// In the client's order; empty: all.
    suites: Vec<CipherSuite>,
}

impl Trust {
    pub(crate) fn with(mut self, issued: &Issued) -> Self {
        self.identity = Some((issued.cert.clone(), issued.key.clone()));
        self
    }

    pub(crate) fn versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    pub(crate) fn alpn(mut self, protocol: &str) -> Self {
        self.alpn.push(protocol.into());
        self
    }

    pub(crate) fn suites(mut self, suites: &[CipherSuite]) -> Self {
        self.suites = suites.to_vec();
        self
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = default_provider();
        if !self.suites.is_empty() {
            let all = std::mem::take(&mut provider.cipher_suites);
            let named = |suite| *all.iter().find(|one| one.suite() == suite).unwrap();
            provider.cipher_suites = self.suites.iter().copied().map(named).collect();
        }
        provider
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let versions: &[_] = match self.versions {
            Versions::Both => &[&TLS13, &TLS12],
            Versions::Only12 => &[&TLS12],
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots(&self.ca));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let issued = Issued { cert: cert.clone(), key: key.clone(), der: Vec::new() };
                let (chain, key) = identity(&issued);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_secret_extraction = true;
        Arc::new(config)
    }

    /// Connects to where `localhost` is meant to be.
    pub(crate) fn open(&self, address: SocketAddr) -> TlsClient {
        TlsClient::open(&self.config(), address, "localhost")
    }
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    roots
}

fn identity(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(issued.cert.as_bytes()).map(Result::unwrap);
    (chain.collect(), PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap())
}

/// One connection to the proxy, by TLS.
pub(crate) struct TlsClient {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsClient {
    pub(crate) fn open(config: &Arc<ClientConfig>, address: SocketAddr, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let connection = ClientConnection::new(config.clone(), name).unwrap();
        Self { stream: StreamOwned::new(connection, socket) }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut answer = vec![0; bytes.len()];
        self.stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, bytes);
    }

    #[track_caller]
    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.expect(bytes);
    }

    /// A session of 3.1.1.
    #[track_caller]
    pub(crate) fn session(mut self, id: &str) -> Self {
        self.send(&connect(4, id));
        self.expect(CONNACK_V3);
        self
    }

    /// What comes until the end, and whether that was announced (RFC 8446, section 6.1).
    pub(crate) fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => (rest, true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => (rest, false),
            Err(error) => panic!("{error}"),
        }
    }

    /// The records that these bytes are made into, without sending them.
    pub(crate) fn records(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        self.stream.conn.writer().write_all(bytes).unwrap();
        while self.stream.conn.wants_write() {
            self.stream.conn.write_tls(&mut records).unwrap();
        }
        records
    }

    /// How the handshake, or the first read after it, failed.
    #[track_caller]
    pub(crate) fn failure(&mut self) -> io::Error {
        let sent = self.stream.write_all(&connect(4, "c")).and_then(|()| self.stream.flush());
        sent.and_then(|()| self.stream.read_exact(&mut [0; 4])).unwrap_err()
    }

    /// Says that nothing more is sent.
    pub(crate) fn finish(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().unwrap();
        self.stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The server's certificate.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }
}
