//! What a client has said before it breaks TLS reaches its broker.

use std::{
    io::{Read, Write},
    sync::mpsc,
};

use rustls::ClientConnection;

use crate::{
    broker::Broker,
    client::{connect, packet, text},
    config::Config,
    harness::{PATIENCE, end},
    tls_client::{BAD_RECORD, Pki},
};

/// The bytes of a client's last segment: two packets, each in a record, and what `end` makes.
fn tell(id: &'static str, how: &str, end_of: impl FnOnce(&mut ClientConnection) -> Vec<u8>) {
    let pki = Pki::new();
    let (said, heard) = mpsc::channel();
    let broker = Broker::start(move |mut link| {
        let _ = link.accept();
        let mut rest = Vec::new();
        let _ = link.stream.read_to_end(&mut rest);
        let _ = said.send(rest);
    });
    let proxy = Config::of([&broker]).listener(&pki.tls("")).start();
    let mut client = pki.client().open(proxy.address()).session(id);
    let publish = packet(0x30, &[&text("site/7/alarm")[..], b"door open"].concat());
    let mut segment = client.records(&publish);
    segment.extend(client.records(b"\xE0\x00"));
    segment.extend(end_of(&mut client.stream.conn));
    client.stream.sock.write_all(&segment).unwrap();
    let heard = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(heard, [&publish[..], b"\xE0\x00"].concat());
    let line = proxy.wait_end(id);
    assert_eq!(end(&line), how);
    assert_eq!(line["bytes_in"], connect(4, id).len() + heard.len());
}

#[test]
fn before_a_bad_record() {
    tell("bad", "proxy/relay/malformed", |_| BAD_RECORD.to_vec());
}

#[test]
fn before_a_fatal_alert() {
    tell("alert", "client/relay/error", |tls| {
        let _ = tls.read_tls(&mut &BAD_RECORD[..]);
        assert!(tls.process_new_packets().is_err());
        let mut alert = Vec::new();
        tls.write_tls(&mut alert).unwrap();
        alert
    });
}
