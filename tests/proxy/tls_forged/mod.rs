//! Peers that have the keys of their connection, and send records that no library would.

mod cases;
mod key;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{
    CipherSuite, ServerConfig, ServerConnection,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use serde_json::Value;

use self::{
    cases::{ALERT, CASES, ENDED, Outcome},
    key::Key,
};
use crate::{
    broker::{Broker, Link},
    client::{CONNACK_V3, Client, connect, publish},
    config::Config,
    harness::wait_for,
    tls_client::Pki,
};

/// One of each construction.
const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// A peer's socket and keys.
struct Forger {
    socket: TcpStream,
    sender: Key,
    receiver: Key,
}

impl Forger {
    fn new(socket: TcpStream, connection: impl Into<rustls::Connection>) -> Self {
        let connection = connection.into();
        let version = connection.protocol_version().unwrap();
        let secrets = connection.dangerous_extract_secrets().unwrap();
        let (sender, receiver) = (Key::new(secrets.tx, version), Key::new(secrets.rx, version));
        Self { socket, sender, receiver }
    }

    /// Sends a case's records and ends; returns the last alert that the proxy sends.
    fn send(&mut self, case: usize) -> Option<u8> {
        let wire = CASES[case].1(&mut self.sender);
        // The proxy may have closed before all of it is sent.
        let _ = self.socket.write_all(&wire);
        let _ = self.socket.shutdown(Shutdown::Write);
        self.alert()
    }

    /// The last alert that the proxy sends.
    fn alert(&mut self) -> Option<u8> {
        let mut wire = Vec::new();
        // A reset may follow the alert.
        let _ = self.socket.read_to_end(&mut wire);
        let mut records = self.receiver.open(&wire).into_iter();
        records.rfind(|record| record.0 == ALERT).map(|(_, alert)| alert[1])
    }
}

#[track_caller]
fn check(line: &Value, alert: Option<u8>, (detail, expected_alert): Outcome) {
    let is_ended = (detail, expected_alert) == ENDED;
    assert_eq!(line["end_cause"] == "closed", is_ended, "{line}");
    assert!(is_ended || line["detail"].as_str().unwrap().contains(detail), "{detail}: {line}");
    assert_eq!(alert, expected_alert, "{line}");
}

#[test]
fn clients() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(&pki.tls("")).start();
    let mut other = pki.client().open(proxy.address()).session("other");
    for suite in SUITES {
        for (number, (name, _, outcomes)) in CASES.iter().enumerate() {
            let id = format!("{suite:?} {name}");
            let client = pki.client().suites(&[suite]).open(proxy.address()).session(&id);
            let (connection, socket) = client.stream.into_parts();
            let alert = Forger::new(socket, connection).send(number);
            check(&proxy.wait_end(&id), alert, outcomes[usize::from(suite != SUITES[0])]);
        }
        other.echo(b"\xC0\x00");
    }
}

#[test]
fn brokers() {
    let pki = Pki::new();
    let to_broker = format!("tls: {{ ca: \"{}/ca.pem\" }}", pki.path().display());
    for suite in SUITES {
        let config = server(&pki, suite);
        let (alerts, case) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (seen, which) = (alerts.clone(), case.clone());
        let broker = Broker::start(move |link| {
            let alert = serve(&link, &config).send(which.load(Ordering::SeqCst));
            seen.lock().unwrap().push(alert);
        });
        let proxy = Config::of([&broker]).pool(&to_broker).start();
        for (number, (name, _, outcomes)) in CASES.iter().enumerate() {
            case.store(number, Ordering::SeqCst);
            let id = format!("{suite:?} {name}");
            let mut client = Client::exchange(proxy.address(), &connect(4, &id), CONNACK_V3);
            client.send(&publish(b"now"));
            let _ = client.rest();
            drop(client);
            let line = proxy.wait_end(&id);
            let alert = wait_for("the alert", || alerts.lock().unwrap().get(number).copied());
            check(&line, alert, outcomes[usize::from(suite != SUITES[0])]);
        }
    }
}

/// A broker that has accepted a client and received a message of it.
fn serve(link: &Link, config: &Arc<ServerConfig>) -> Forger {
    link.patient();
    let mut socket = link.stream.try_clone().unwrap();
    let mut connection = ServerConnection::new(config.clone()).unwrap();
    let mut buffer = [0; 1000];
    let mut tls = rustls::Stream::new(&mut connection, &mut socket);
    assert!(tls.read(&mut buffer).unwrap() > 0);
    tls.write_all(CONNACK_V3).unwrap();
    assert!(tls.read(&mut buffer).unwrap() > 0);
    Forger::new(socket, connection)
}

/// What a broker with this suite has.
fn server(pki: &Pki, suite: CipherSuite) -> Arc<ServerConfig> {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|one| one.suite() == suite);
    let issued = pki.issue("broker");
    let chain = vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()];
    let version = if suite == SUITES[0] { &TLS13 } else { &TLS12 };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap())
        .unwrap();
    config.enable_secret_extraction = true;
    Arc::new(config)
}
