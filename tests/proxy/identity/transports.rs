//! Assigned IDs over every transport, and together with what else happens in a handshake.

use std::{
    io::{Read, Write},
    net::SocketAddr,
};

use super::packets::{answering, assigned_id, client_id, recording};
use crate::{
    broker::{Broker, Link, version},
    client::{Client, Connect, connack, connect, packet, text},
    config::Config,
    harness::{PATIENCE, Proxy, end, wait_for},
    tls_client::Pki,
    websocket::client::{BINARY, FIN, REQUEST, SWITCHED, binary},
};

const ASSIGN: &str = "balance: { empty_client_id: assign }";
const PING: &[u8] = b"\xC0\x00";

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

/// A connection over TCP or TLS, with WebSocket or without.
struct Connection {
    stream: Box<dyn Duplex>,
    has_frames: bool,
    unread: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr, transport: &str, pki: &Pki) -> Self {
        let mut stream: Box<dyn Duplex> = match transport {
            "tls" | "wss" => Box::new(pki.client().open(address).stream),
            _ => Box::new(Client::open(address).stream),
        };
        let has_frames = transport.starts_with("ws");
        if has_frames {
            stream.write_all(REQUEST.as_bytes()).unwrap();
            let mut answer = vec![0; SWITCHED.len()];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, SWITCHED.as_bytes());
        }
        Self { stream, has_frames, unread: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        let framed = if self.has_frames { binary(bytes) } else { bytes.to_vec() };
        self.stream.write_all(&framed).unwrap();
        self.stream.flush().unwrap();
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let mut len = count - self.unread.len();
            if self.has_frames {
                let mut head = [0; 2];
                self.stream.read_exact(&mut head).unwrap();
                assert_eq!(head[0], FIN | BINARY);
                len = usize::from(head[1]);
                assert!(len < 126);
            }
            let mut bytes = vec![0; len];
            self.stream.read_exact(&mut bytes).unwrap();
            self.unread.extend(bytes);
        }
        self.unread.drain(..count).collect()
    }
}

/// 3.1, 3.1.1 and 5.0; with packets behind the CONNECT, so that the bytes of both are counted.
#[test]
fn over_every_transport() {
    let (broker, connects) = recording();
    let pki = Pki::new();
    let config = Config::of([&broker])
        .another_listener(&format!("name: tls, {}", pki.tls("")))
        .another_listener("name: ws, websocket: {}")
        .another_listener(&format!("name: wss, {}, websocket: {{}}", pki.tls("")));
    let proxy = config.pool(ASSIGN).start();
    for (transport, listener) in [("tcp", "mqtt"), ("tls", "tls"), ("ws", "ws"), ("wss", "wss")] {
        for version in [3, 4, 5] {
            let mut client = Connection::open(proxy.address_of(listener), transport, &pki);
            client.send(&[connect(version, ""), PING.to_vec()].concat());
            let sent = connects.recv_timeout(PATIENCE).unwrap();
            let id = client_id(&sent);
            assert_eq!(sent, connect(version, &id));
            let answer = if version == 5 {
                packet(0x20, &[&b"\x00\x00\x19\x12"[..], &text(&id)].concat())
            } else {
                connack(version, 0)
            };
            assert_eq!(client.read(answer.len()), answer, "{transport} {version}");
            assert_eq!(client.read(2), PING);
            drop(client);
            let line = proxy.wait_log("the end", |line| {
                line["event"] == "disconnect" && line["assigned_client_id"] == *id
            });
            assert_eq!((&line["transport"], &line["client_id"]), (&transport.into(), &"".into()));
            assert_eq!(line["broker_client_id"], *id);
            assert_eq!(line["bytes_in"], connect(version, "").len() + 2);
            assert_eq!(line["bytes_out"], answer.len() + 2);
        }
    }
}

/// The ID is in the CONNACK that follows an authentication exchange, not in the AUTH before it.
#[test]
fn after_an_authentication_exchange() {
    let method = [&b"\x15"[..], &text("SCRAM")].concat();
    let auth = packet(0xF0, &[&b"\x18\x08"[..], &method].concat());
    let (asked, answered) = (auth.clone(), auth.clone());
    let (tell, connects) = std::sync::mpsc::channel();
    let broker = Broker::start(move |mut link: Link| {
        let Some(connect) = link.read_packet() else { return };
        link.send(&asked);
        assert_eq!(link.read_packet().as_ref(), Some(&answered));
        // The broker's own property, and a packet in the same segment.
        let accepted = packet(0x20, &[&b"\x00\x00\x08\x15"[..], &text("SCRAM")].concat());
        link.send(&[accepted, PING.to_vec()].concat());
        tell.send(connect).unwrap();
        while let Some(packet) = link.read_packet() {
            link.send(&packet);
        }
    });
    let proxy = Config::of([&broker]).pool(ASSIGN).start();
    let sent = |id| Connect { properties: &method, ..Connect::new(5, id) }.bytes();
    let mut client = Client::exchange(proxy.address(), &sent(""), &auth);
    client.send(&auth);
    let connect = connects.recv_timeout(PATIENCE).unwrap();
    let id = client_id(&connect);
    assert_eq!(connect, sent(&id));
    let properties = [&b"\x12"[..], &text(&id), &method].concat();
    let accepted = packet(0x20, &[&[0, 0, properties.len() as u8][..], &properties].concat());
    client.expect(&[&accepted[..], PING].concat());
    client.echo(PING);
    drop(client);
    let line = proxy.wait_end("");
    assert_eq!(line["assigned_client_id"], *id);
    assert_eq!(line["bytes_in"], sent("").len() + auth.len() + 2);
    assert_eq!(line["bytes_out"], auth.len() + accepted.len() + 4);
}

/// Brokers that refuse, then one that accepts: all were sent the same CONNECT.
#[test]
fn each_try_has_the_same_id() {
    let brokers = [0x89, 0x88, 0].map(|code| answering(move |of| connack(version(of), code)));
    let proxy = Config::of(brokers.iter().map(|(broker, _)| broker)).pool(ASSIGN).start();
    // The last broker is the third choice of some of these clients.
    wait_for("a client that was refused twice", || {
        let mut client = Client::open(proxy.address());
        client.send(&connect(5, ""));
        let id = assigned_id(&mut client).unwrap();
        let sent: Vec<_> = brokers.iter().flat_map(|(_, sent)| sent.try_iter()).collect();
        assert!(sent.iter().all(|sent| *sent == connect(5, &id)));
        (sent.len() == 3).then_some(())
    });
}

/// A broker that assigns an ID although it was sent one: its CONNACK is passed on as it is.
#[test]
fn a_broker_that_assigns_one_itself() {
    let own = packet(0x20, &[&b"\x00\x00\x09\x12"[..], &text("of-brk")].concat());
    let answer = own.clone();
    let (broker, connects) = answering(move |_| answer.clone());
    let proxy = Config::of([&broker]).pool(ASSIGN).start();
    let mut client = Client::exchange(proxy.address(), &connect(5, ""), &own);
    client.echo(PING);
    let sent = connects.recv_timeout(PATIENCE).unwrap();
    assert_eq!(sent, connect(5, &client_id(&sent)));
}

/// Clients that queue for admission each have an ID of their own.
#[test]
fn in_an_admission_queue() {
    let (broker, connects) = recording();
    let admission = "admission: { rate: 50, burst: 1, max_wait: 25s }";
    let proxy = Config::of([&broker]).pool(ASSIGN).pool(admission).workers(2).start();
    let mut clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::open(proxy.address());
            client.send(&connect(5, ""));
            client
        })
        .collect();
    let mut ids: Vec<_> = clients.iter_mut().map(|client| assigned_id(client).unwrap()).collect();
    let mut sent: Vec<_> =
        ids.iter().map(|_| client_id(&connects.recv_timeout(PATIENCE).unwrap())).collect();
    ids.sort_unstable();
    sent.sort_unstable();
    assert_eq!(ids, sent);
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[track_caller]
fn wait_taken_over(proxy: &Proxy, count: usize) {
    wait_for(&format!("{count} taken over"), || {
        let log = proxy.log();
        let ends = ["proxy/relay/taken_over", "proxy/relay/duplicate"];
        (log.iter().filter(|line| ends.contains(&&*end(line))).count() == count).then_some(())
    });
}

/// At the limit of its address, a client replaces its own session by the ID that it was assigned.
#[test]
fn a_client_that_returns_at_the_limit_of_its_address() {
    let (broker, _connects) = recording();
    let limit = "limits: { max_connections_per_ip: 1 }";
    let proxy = Config::of([&broker]).pool(ASSIGN).workers(2).more(limit).start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(5, ""));
    let id = assigned_id(&mut client).unwrap();
    client.echo(PING);
    let mut newer = Client::exchange(proxy.address(), &connect(5, &id), &connack(5, 0));
    wait_taken_over(&proxy, 1);
    newer.echo(PING);
    drop(client);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
    // One without an ID is another client.
    Client::exchange(proxy.address(), &connect(5, ""), &connack(5, 0x97)).expect_end();
    newer.echo(PING);
}

/// The session that a client may replace is one with the ID that its broker was sent.
#[test]
fn a_rewritten_client_at_the_limit_of_its_address() {
    let (broker, _connects) = recording();
    let proxy = Config::of([&broker])
        .listener("rewrite: { client_id: \"${username}/${client_id}\" }")
        .workers(2)
        .more("limits: { max_connections_per_ip: 1 }")
        .start();
    let sent = |username, id| Connect::new(5, id).username(username).bytes();
    let mut held = Client::exchange(proxy.address(), &sent("acme", "pump"), &connack(5, 0));
    held.echo(PING);
    let mut newer = Client::exchange(proxy.address(), &sent("acme", "pump"), &connack(5, 0));
    wait_taken_over(&proxy, 1);
    newer.echo(PING);
    drop(held);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
    // Another tenant's device, whatever it calls itself.
    for (username, id) in [("other", "pump"), ("other", "acme/pump")] {
        let refused = sent(username, id);
        Client::exchange(proxy.address(), &refused, &connack(5, 0x97)).expect_end();
        proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
    }
    newer.echo(PING);
}
