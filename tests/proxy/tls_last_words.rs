//! What a client has said before it breaks TLS reaches its broker.

use std::{
    io::{ErrorKind, Read, Write},
    sync::{Mutex, mpsc},
};

use rustls::ClientConnection;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, connect, packet, text},
    config::Config,
    harness::{PATIENCE, end},
    tls_client::{BAD_RECORD, Pki},
};

/// Accepts every client, and tells what each has sent after its CONNECT.
fn recording_broker() -> (Broker, mpsc::Receiver<Vec<u8>>) {
    let (said, heard) = mpsc::channel();
    let broker = Broker::start(move |mut link| {
        let _ = link.accept();
        let mut rest = Vec::new();
        let _ = link.stream.read_to_end(&mut rest);
        let _ = said.send(rest);
    });
    (broker, heard)
}

/// The bytes of a client's last segment: two packets, each in a record, and what `end` makes.
fn tell(id: &'static str, how: &str, end_of: impl FnOnce(&mut ClientConnection) -> Vec<u8>) {
    let pki = Pki::new();
    let (broker, heard) = recording_broker();
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

/// Publishes and leaves without reading anything: the session ticket must not be sent before the
/// CONNECT is read, since a closed socket answers it with a reset.
#[test]
fn of_clients_that_publish_and_leave() {
    const CLIENTS: usize = 60;
    let pki = Pki::new();
    let (broker, heard) = recording_broker();
    let proxy = Config::of([&broker]).listener(&pki.tls("")).start();
    for no_delay in [true, false] {
        let mut published = Vec::new();
        for number in 0..CLIENTS {
            let mut client = pki.client().open(proxy.address());
            client.stream.sock.set_nodelay(no_delay).unwrap();
            while client.stream.conn.is_handshaking() {
                client.stream.conn.complete_io(&mut client.stream.sock).unwrap();
            }
            let publish =
                packet(0x30, &[&text("last")[..], number.to_string().as_bytes()].concat());
            let id = format!("device-{no_delay}-{number}");
            client.send(&[&connect(4, &id)[..], &publish, b"\xE0\x00"].concat());
            published.push([&publish[..], b"\xE0\x00"].concat());
        }
        let mut received: Vec<_> =
            published.iter().map(|_| heard.recv_timeout(PATIENCE).unwrap()).collect();
        received.sort();
        published.sort();
        assert_eq!(received, published, "no_delay: {no_delay}");
    }
}

/// One write brings ticket and CONNACK.
#[test]
fn the_ticket_comes_with_the_connack() {
    let pki = Pki::new();
    let (asked, asks) = mpsc::channel();
    let (allow, allowed) = mpsc::channel::<()>();
    let allowed = Mutex::new(allowed);
    let broker = Broker::start(move |mut link| {
        let _ = link.read_packet();
        asked.send(()).unwrap();
        allowed.lock().unwrap().recv().unwrap();
        link.stream.write_all(CONNACK_V3).unwrap();
        let _ = link.stream.read_to_end(&mut Vec::new());
    });
    let proxy = Config::of([&broker]).listener(&pki.tls("")).start();
    let mut client = pki.client().open(proxy.address());
    client.send(&connect(4, "device"));
    asks.recv_timeout(PATIENCE).unwrap();
    client.stream.sock.set_nonblocking(true).unwrap();
    let early = client.stream.sock.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(ErrorKind::WouldBlock));
    assert_eq!(client.stream.conn.tls13_tickets_received(), 0);
    client.stream.sock.set_nonblocking(false).unwrap();
    allow.send(()).unwrap();
    client.expect(CONNACK_V3);
    assert_eq!(client.stream.conn.tls13_tickets_received(), 1);
}
