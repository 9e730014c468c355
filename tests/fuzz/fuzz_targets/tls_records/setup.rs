//! Connections of each construction, in both roles.

use std::{
    cell::RefCell,
    sync::{Arc, LazyLock},
};

use mqtt_lb::testing::tls::{EstablishedTls, TlsRole, secret_capture};
use rustls::{
    ClientConfig, Connection, KeyLog, RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{cipher_suite as suites, default_provider, kx_group::X25519},
    },
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    version::{TLS12, TLS13},
};

use crate::forger::{Forger, Key};

const SUITES: [SupportedCipherSuite; 6] = [
    suites::TLS13_AES_128_GCM_SHA256,
    suites::TLS13_AES_256_GCM_SHA384,
    suites::TLS13_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// A suite, and whether we are the server.
pub struct Setup {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    is_server: bool,
}

impl Setup {
    pub fn get(which: usize) -> &'static Self {
        static SETUPS: LazyLock<Vec<Setup>> = LazyLock::new(|| {
            let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let both = SUITES.iter().flat_map(|suite| [(suite, true), (suite, false)]);
            both.map(|(suite, is_server)| Setup::new(*suite, is_server, &certified)).collect()
        });
        &SETUPS[which % SETUPS.len()]
    }

    fn new(
        suite: SupportedCipherSuite,
        is_server: bool,
        certified: &rcgen::CertifiedKey<rcgen::KeyPair>,
    ) -> Self {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![suite],
            kx_groups: vec![X25519],
            ..default_provider()
        });
        let version = if suite.tls13().is_some() { &TLS13 } else { &TLS12 };
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        server.send_tls13_tickets = 0;
        (server.enable_secret_extraction, client.enable_secret_extraction) = (true, true);
        let (ours, theirs): (_, Arc<dyn KeyLog>) = (secret_capture(), Arc::new(PeerSecrets));
        (server.key_log, client.key_log) = if is_server { (ours, theirs) } else { (theirs, ours) };
        Self { server: Arc::new(server), client: Arc::new(client), is_server }
    }

    /// A connection that the record layer or rustls reads, and its peer.
    pub fn connection(&self, is_layer: bool) -> (EstablishedTls, Forger) {
        let name = "localhost".try_into().unwrap();
        let (server, client) = (self.server.clone(), self.client.clone());
        let (role, mut peer): (_, Connection) = if self.is_server {
            let peer = rustls::ClientConnection::new(client, name).unwrap();
            (TlsRole::Server(server), peer.into())
        } else {
            let peer = rustls::ServerConnection::new(server).unwrap();
            (TlsRole::Client(client, name), peer.into())
        };
        SECRETS.take();
        let ours = EstablishedTls::new(role, &mut peer, is_layer).unwrap();
        let (client, server) = SECRETS.take();
        let (tx, rx) = if self.is_server { (client, server) } else { (server, client) };
        let extracted = peer.dangerous_extract_secrets().unwrap();
        let sender = Key::new(extracted.tx.0, &extracted.tx.1, tx);
        (ours, Forger { sender, receiver: Key::new(extracted.rx.0, &extracted.rx.1, rx) })
    }
}

thread_local! {
    /// The client's and the server's.
    static SECRETS: RefCell<(Option<Vec<u8>>, Option<Vec<u8>>)> = const { RefCell::new((None, None)) };
}

#[derive(Debug)]
struct PeerSecrets;

impl KeyLog for PeerSecrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        SECRETS.with_borrow_mut(|secrets| match label {
            "CLIENT_TRAFFIC_SECRET_0" => secrets.0 = Some(secret.to_vec()),
            "SERVER_TRAFFIC_SECRET_0" => secrets.1 = Some(secret.to_vec()),
            _ => {}
        });
    }
}
