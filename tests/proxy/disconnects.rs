//! What each side's DISCONNECT says about the end is in the log.

use std::fs;

use serde_json::Value;

use crate::{
    broker::{Broker, Link, echo, version},
    client::{CONNACK_V3, CONNACK_V5, Client, connack, connect, packet, publish},
    config::Config,
    harness::{Proxy, end, heavy, wait_for},
    tls_client::Pki,
    websocket::client::{REQUEST, SWITCHED, binary},
};

/// Code and name of the client's DISCONNECT, then of the broker's.
fn disconnects(line: &Value) -> [Value; 4] {
    let names = ["client_disconnect", "client_disconnect_reason"];
    let names = [names, ["broker_disconnect", "broker_disconnect_reason"]].concat();
    std::array::from_fn(|nth| line[names[nth]].clone())
}

fn by_client(code: u8, reason: &str) -> [Value; 4] {
    [code.into(), reason.into(), Value::Null, Value::Null]
}

fn by_broker(code: u8, reason: &str) -> [Value; 4] {
    [Value::Null, Value::Null, code.into(), reason.into()]
}

const NOTHING: [Value; 4] = [Value::Null, Value::Null, Value::Null, Value::Null];

/// The end of a session in which the client sends this, in steps of so many bytes.
#[track_caller]
fn client_sends(proxy: &Proxy, version: u8, id: &str, bytes: &[u8], step: usize) -> Value {
    let mut client = Client::exchange(proxy.address(), &connect(version, id), &connack(version, 0));
    for part in bytes.chunks(step) {
        client.send(part);
    }
    client.finish();
    client.expect_end();
    let line = proxy.wait_end(id);
    assert_eq!(end(&line), "client/relay/closed");
    assert_eq!(disconnects(&proxy.wait_connected(id)), NOTHING, "in the connect line");
    line
}

/// Reads to the end.
fn reading(mut link: Link) {
    link.accept();
    while link.read_packet().is_some() {}
}

#[test]
fn by_the_client() {
    let broker = Broker::start(reading);
    let proxy = Config::of([&broker]).start();
    let normal = by_client(0, "normal_disconnection");
    let with_will = by_client(4, "disconnect_with_will_message");
    // A reason code, and properties: a session expiry.
    let expiry = packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 9]);
    let after_others = [&publish(&[0xE0; 300])[..], b"\xC0\x00", b"\xE0\x01\x04"].concat();
    // Not DISCONNECTs: reserved flags, another packet's body, and an unfinished packet.
    let others = [&b"\xE1\x00"[..], &publish(b"\xE0\x00"), b"\xE0"].concat();
    for (n, (version, bytes, wanted)) in [
        (3, &b"\xE0\x00"[..], &normal),
        (4, b"\xE0\x00", &normal),
        (5, b"\xE0\x00", &normal),
        (5, b"\xE0\x01\x00", &normal),
        (5, b"\xE0\x01\x04", &with_will),
        (5, &expiry, &normal),
        (5, b"\xE0\x01\x8D", &by_client(0x8D, "keep_alive_timeout")),
        (5, b"\xE0\x01\x77", &by_client(0x77, "unknown")),
        (5, &after_others, &with_will),
        // 3.x has no codes.
        (4, b"\xE0\x01\x04", &normal),
        (4, &others, &NOTHING),
        (5, &others, &NOTHING),
        (5, b"", &NOTHING),
    ]
    .into_iter()
    .enumerate()
    {
        for step in [1, 2, 1000] {
            let id = format!("client-{n}-{step}");
            let line = client_sends(&proxy, version, &id, bytes, step);
            assert_eq!(disconnects(&line), *wanted, "{id}: {bytes:x?}");
        }
    }
}

#[test]
fn in_one_piece_with_the_connect() {
    let broker = Broker::start(reading);
    let proxy = Config::of([&broker]).start();
    let mut client = Client::open(proxy.address());
    client.send(&[&connect(4, "brief")[..], &publish(b"hello"), b"\xE0\x00"].concat());
    client.expect(CONNACK_V3);
    client.finish();
    client.expect_end();
    let line = proxy.wait_end("brief");
    assert_eq!(disconnects(&line), by_client(0, "normal_disconnection"));
}

#[test]
fn by_the_broker() {
    let broker = Broker::start(|mut link| {
        let Some(connect) = link.read_packet() else { return };
        let version = version(&connect);
        let id = connect[if version == 5 { 15 } else { 14 }..].to_vec();
        let goodbye: &[u8] = match &*id {
            b"taken" => b"\xE0\x02\x8E\x00",
            b"busy" => b"\xE0\x01\x89",
            b"moved" => b"\xE0\x08\x9C\x06\x1C\x00\x03b:1",
            b"both" => b"\xE0\x01\x8B",
            _ => b"\xE0\x00",
        };
        if id == b"busy" {
            // At once with the CONNACK.
            link.send(&[CONNACK_V5, &publish(b"x"), goodbye].concat());
        } else {
            link.send(&connack(version, 0));
            if id == b"both" {
                link.read_packet();
            }
            for byte in goodbye {
                link.send(&[*byte]);
            }
        }
    });
    let proxy = Config::of([&broker]).start();
    for (version, id, wanted) in [
        (5, "taken", by_broker(0x8E, "session_taken_over")),
        (5, "busy", by_broker(0x89, "server_busy")),
        (5, "moved", by_broker(0x9C, "use_another_server")),
        (5, "plain", by_broker(0, "normal_disconnection")),
        // A broker sends none in 3.x; these bytes are passed on, as are all others.
        (4, "v3", NOTHING),
    ] {
        let mut client = Client::open(proxy.address());
        client.send(&connect(version, id));
        let (received, _) = client.rest();
        assert!(received.len() > 5, "{id}: {received:x?}");
        client.finish();
        let line = proxy.wait_end(id);
        assert_eq!(disconnects(&line), wanted, "{id}");
        assert_eq!(end(&line), "upstream/relay/closed", "{id}");
    }
    let mut both = Client::exchange(proxy.address(), &connect(5, "both"), CONNACK_V5);
    both.send(b"\xE0\x00");
    both.expect(b"\xE0\x01\x8B");
    both.finish();
    let [code, reason, ..] = by_client(0, "normal_disconnection");
    let [.., by_broker, why] = by_broker(0x8B, "server_shutting_down");
    assert_eq!(disconnects(&proxy.wait_end("both")), [code, reason, by_broker, why]);
}

/// Inside TLS and WebSocket too, where bulk data is copied and the framing followed throughout. On
/// plain sockets it is lost once bulk is spliced; what is recorded is right all the same.
#[test]
fn after_bulk_data() {
    let _heavy = heavy();
    let (pki, broker) = (Pki::new(), Broker::start(reading));
    let proxy = Config::of([&broker])
        .another_listener(&format!("name: mqtts, {}", pki.tls("")))
        .another_listener("name: ws, websocket: {}")
        .start();
    let bulk: Vec<u8> = (0..40).flat_map(|n| publish(&vec![0xE0; 100_000 + n])).collect();
    let last = by_client(4, "disconnect_with_will_message");

    let mut tls = pki.client().open(proxy.address_of("mqtts"));
    tls.send(&connect(5, "tls"));
    tls.expect(CONNACK_V5);
    tls.send(&[&bulk[..], b"\xE0\x01\x04"].concat());
    tls.finish();
    assert_eq!(disconnects(&proxy.wait_end("tls")), last);

    let mut ws = Client::exchange(proxy.address_of("ws"), REQUEST.as_bytes(), SWITCHED.as_bytes());
    ws.send(&binary(&connect(5, "ws")));
    for part in [&bulk[..], b"\xE0\x01\x04"].concat().chunks(100) {
        ws.send(&binary(part));
    }
    ws.finish();
    assert_eq!(disconnects(&proxy.wait_end("ws")), last);

    for n in 0..5 {
        let id = format!("plain-{n}");
        let line = client_sends(&proxy, 5, &id, &[&bulk[..], b"\xE0\x01\x04"].concat(), 1 << 20);
        let seen = disconnects(&line);
        assert!(seen == NOTHING || seen == last, "{seen:?}");
    }
}

/// A template can have them, and a refused client's record has none.
#[test]
fn in_templates() {
    let broker = Broker::start(|mut link| {
        let refused = link.read_packet().is_some_and(|connect| connect.ends_with(b"refused"));
        link.send(&connack(4, if refused { 5 } else { 0 }));
        if !refused {
            echo(link);
        }
    });
    let mut config = Config::of([&broker]);
    config.access_log = "{ path: access.log, format: json }, { path: own.log, format: \
        '${client_id} ${client_disconnect} ${client_disconnect_reason} ${broker_disconnect} \
        ${broker_disconnect_reason}' }"
        .into();
    let proxy = config.start();
    let mut client = Client::exchange(proxy.address(), &connect(4, "fine"), CONNACK_V3);
    client.send(b"\xE0\x00");
    client.finish();
    proxy.wait_end("fine");
    Client::exchange(proxy.address(), &connect(4, "refused"), &connack(4, 5)).expect_end();
    assert_eq!(disconnects(&proxy.wait_end("refused")), NOTHING);
    let lines = wait_for("three lines", || {
        let text = fs::read_to_string(proxy.path("own.log")).unwrap();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() == 3).then_some(lines)
    });
    let wanted = ["fine - - - -", "fine 0 normal_disconnection - -", "refused - - - -"];
    assert_eq!(lines, wanted);
}
