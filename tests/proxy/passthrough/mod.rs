//! TLS that is passed through to the brokers: `tls: passthrough`.

mod hellos;
mod moves;
mod operations;
mod refusals;
mod sessions;

use std::{
    io::Read,
    sync::{Arc, Mutex},
};

use crate::{
    broker::Broker,
    config::Config,
    pki::{Issued, Leaf},
    tls_client::Pki,
    tls_upstream,
};

const PASSTHROUGH: &str = "tls: passthrough";

/// A listener that passes TLS through to these brokers.
fn config<'a>(brokers: impl IntoIterator<Item = &'a Broker>) -> Config {
    Config::of(brokers).listener(PASSTHROUGH).pool("balance: { key: sni }")
}

/// A broker with a certificate for these hosts, and the certificate.
fn tls_broker(pki: &Pki, hosts: &[&str]) -> (Broker, Issued) {
    let issued = pki.ca.issue(&Leaf::new("broker", hosts));
    (tls_upstream::broker(Pki::server(&issued, None)), issued)
}

/// A broker that keeps the bytes of each connection, and sends them back.
fn recording_broker() -> (Broker, Arc<Mutex<Vec<Vec<u8>>>>) {
    let seen = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let connections = seen.clone();
    let broker = Broker::start(move |mut link| {
        let number = {
            let mut connections = connections.lock().unwrap();
            connections.push(Vec::new());
            connections.len() - 1
        };
        let mut buffer = [0; 16 * 1024];
        while let Ok(n @ 1..) = link.stream.read(&mut buffer) {
            connections.lock().unwrap()[number].extend_from_slice(&buffer[..n]);
            link.send(&buffer[..n]);
        }
    });
    (broker, seen)
}

/// A record with a ClientHello of TLS 1.2 that has these extensions.
fn hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let list: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &sized(content)].concat())
        .collect();
    // Version, random, no session ID, two cipher suites (one of GREASE, RFC 8701), no compression.
    let body =
        [&[3, 3][..], &[7; 32], &[0], b"\0\x04\x1A\x1A\xC0\x2F", b"\x01\0", &sized(&list)].concat();
    let message = [&[1, 0][..], &sized(&body)].concat();
    [b"\x16\x03\x01", &sized(&message)[..]].concat()
}

/// The extension of this server name (RFC 6066, section 3).
fn server_name(name: &[u8]) -> Vec<u8> {
    let len = name.len() as u16;
    [&(len + 3).to_be_bytes()[..], &[0], &len.to_be_bytes(), name].concat()
}
