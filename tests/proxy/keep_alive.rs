//! A client of EMQX changes its keep alive while it is connected: the idle limit follows.

use crate::{
    broker::{Broker, echo_to},
    client::{Client, Connect, connack, packet, publish, text},
    config::Config,
    harness::{end, wait_for},
};

const TOPIC: &str = "$SETOPTS/mqtt/keepalive";
const PING: &[u8] = b"\xC0\x00";

/// A PUBLISH to `topic`; 5.0 with properties.
fn publish_to(topic: &str, version: u8, qos: u8, payload: &str) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend([0, 7]);
    }
    if version == 5 {
        // A user property.
        body.extend(b"\x07\x26\x00\x01k\x00\x01v");
    }
    body.extend(payload.as_bytes());
    packet(0x30 | qos << 1, &body)
}

/// With a keep alive of 1 s a silent client is ended after 7 s: 1.5 times as long, and the grace of
/// 5 s. With 600 s it would be much later than the test.
#[test]
fn the_idle_limit_follows() {
    let broker = Broker::start(|mut link| {
        let Some(connect) = link.read_packet() else { return };
        echo_to(link, &connect);
    });
    let proxy = Config::of([&broker]).workers(2).start();
    let change = |version, qos, payload| publish_to(TOPIC, version, qos, payload);
    let bulk = [publish(&vec![7; 300_000]), publish(&vec![7; 300_000])].concat();
    // ID, version, keep alive at first, what it sends, and whether it lives.
    let cases = [
        ("unchanged", 4, 1, publish(b"600"), false),
        ("raised-qos0", 4, 1, change(4, 0, "600"), true),
        ("raised-qos1", 3, 1, change(3, 1, "600"), true),
        ("raised-qos2", 5, 1, change(5, 2, "600"), true),
        ("off", 5, 1, change(5, 0, "0"), true),
        ("beyond-the-range", 4, 1, change(4, 0, "99999"), true),
        ("lowered", 4, 600, change(4, 0, "1"), false),
        ("lowered-from-off", 4, 0, change(4, 0, "1"), false),
        ("raised-and-lowered", 4, 1, [change(4, 0, "600"), change(4, 0, "1")].concat(), false),
        ("no-number", 4, 1, change(4, 0, "600s"), false),
        ("nothing", 5, 1, change(5, 1, ""), false),
        ("bulk-topic", 4, 1, publish_to("$SETOPTS/mqtt/keepalive-bulk", 4, 0, "600"), false),
        ("another-topic", 4, 1, publish_to("setopts/mqtt/keepalive", 4, 0, "600"), false),
        // Once its framing is lost, the longest limit that was seen applies.
        ("raised-then-bulk", 4, 1, [change(4, 0, "600"), bulk].concat(), true),
    ];
    let mut clients = Vec::new();
    for (id, version, keep_alive, bytes, lives) in cases {
        let connect = Connect::new(version, id).keep_alive(keep_alive).bytes();
        let mut client = Client::exchange(proxy.address(), &connect, &connack(version, 0));
        if id == "raised-qos2" {
            for byte in &bytes {
                client.send(&[*byte]);
            }
            client.expect(&bytes);
        } else {
            client.echo(&bytes);
        }
        clients.push((id, client, lives));
    }
    let dead = clients.iter().filter(|(_, _, lives)| !lives).count();
    wait_for("the silent ones to end", || {
        let idle = |line: &&serde_json::Value| end(line) == "proxy/relay/idle";
        (proxy.log().iter().filter(idle).count() == dead).then_some(())
    });
    for (id, mut client, lives) in clients {
        if lives {
            client.echo(PING);
        } else {
            assert_eq!(end(&proxy.wait_end(id)), "proxy/relay/idle", "{id}");
        }
    }
}

/// In one piece with the CONNECT, and with a Server Keep Alive; a duration stays what it is.
#[test]
fn changes_at_once() {
    let broker = Broker::start(|mut link| {
        let Some(connect) = link.read_packet() else { return };
        assert_eq!(connect[0], 0x10);
        // 5.0 §3.2.2.3.14: a keep alive of 1 s.
        link.send(&packet(0x20, b"\x00\x00\x03\x13\x00\x01"));
        while link.read_packet().is_some() {}
    });
    let answer = packet(0x20, b"\x00\x00\x03\x13\x00\x01");
    let followed = Config::of([&broker]).start();
    let fixed = Config::of([&broker]).more("timeouts: { idle: 1s }").start();
    let send = |address, id| {
        let mut client = Client::open(address);
        let change = publish_to(TOPIC, 5, 1, "600");
        client.send(&[Connect::new(5, id).bytes(), change].concat());
        client.expect(&answer);
        client
    };
    let mut raised = send(followed.address(), "raised");
    let silent = Connect::new(5, "silent").bytes();
    let _silent = Client::exchange(followed.address(), &silent, &answer);
    let _timed = send(fixed.address(), "timed");
    assert_eq!(end(&fixed.wait_end("timed")), "proxy/relay/idle");
    assert_eq!(end(&followed.wait_end("silent")), "proxy/relay/idle");
    assert!(
        !followed
            .log()
            .iter()
            .any(|line| line["client_id"] == "raised" && line["end_by"] == "proxy")
    );
    raised.send(b"\xE0\x00");
    raised.finish();
    assert_eq!(end(&followed.wait_end("raised")), "client/relay/closed");
}
