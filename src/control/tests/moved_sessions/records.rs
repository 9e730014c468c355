//! The log and the metrics of sessions that have moved.

use std::{collections::BTreeMap, io::Write, num::NonZeroU32};

use serde_json::Value;

use super::two_proxies::{
    CONNACK_V4, CONNACK_V5, CONNECT_V4, CONNECT_V5, TwoProxies, active, move_all,
};
use crate::{
    config::Upstream,
    control::tests::{
        peers::Peer,
        running::{RunningProxy, wait_until},
    },
};

/// The fields of a `connect` line whose values the `disconnect` line of the session has as well.
fn lasting(line: &Value) -> BTreeMap<&String, &Value> {
    let changing = ["time", "event"];
    line.as_object().unwrap().iter().filter(|(name, _)| !changing.contains(&&***name)).collect()
}

/// One `connect` line and one `disconnect` line, with everything that the session is; each process
/// counts what has happened in it.
#[test]
fn a_session_has_one_record() {
    for (connect, connack) in [(CONNECT_V4, CONNACK_V4), (CONNECT_V5, CONNACK_V5)] {
        let mut world = TwoProxies::new(connect, connack);
        world.exchange();
        world.move_session();
        world.exchange();
        world.move_back();
        world.exchange();
        world.move_session();
        let sessions = r#"upstream_sessions_active{pool="p",upstream="b"}"#;
        let gauge = |proxy: &RunningProxy| proxy.metric(sessions);
        assert_eq!((gauge(&world.old), gauge(&world.new)), (0, 1));
        world.client.send(&[0xE0, 0]);
        world.broker.expect(&[0xE0, 0]);
        drop(world.client);
        assert_eq!(world.broker.rest(), b"");
        drop(world.broker);

        let end = world.new.end();
        wait_until("the connect line", || !world.old.lines("connect").is_empty());
        let begin = world.old.lines("connect");
        assert_eq!((begin.len(), world.new.lines("connect").len()), (1, 0));
        for (name, value) in lasting(&begin[0]) {
            assert_eq!(&end[name], value, "{name}");
        }
        assert_eq!(world.old.ends(), Vec::<Value>::new());
        let (sent, received) = (connect.len() + 9 * 7 + 2, connack.len() + 9 * 7);
        assert_eq!((&end["bytes_in"], &end["bytes_out"]), (&sent.into(), &received.into()));
        assert_eq!((&end["end_by"], &end["end_cause"]), (&"client".into(), &"closed".into()));
        assert_eq!(end["client_disconnect"], 0);

        let count = |sample: &str| (world.old.metric(sample), world.new.metric(sample));
        assert_eq!((active(&world.old), active(&world.new)), (0, 0));
        assert_eq!(count(r#"connections_total{listener="l"}"#), (1, 0));
        let version = if connect == CONNECT_V4 { 4 } else { 5 };
        assert_eq!(
            count(&format!(r#"sessions_total{{listener="l",version="{version}"}}"#)),
            (1, 0)
        );
        let bytes = |direction: &str| {
            count(&format!(r#"bytes_total{{direction="{direction}",pool="p",upstream="b"}}"#))
        };
        let (by_old, by_new) = bytes("in");
        assert_eq!(by_old + by_new, sent as u64);
        let (by_old, by_new) = bytes("out");
        assert_eq!(by_old + by_new, received as u64);
        assert_eq!(by_new, 3 * 7);
    }
}

/// What a session knows beyond its CONNECT: a client behind a proxy, its WebSocket, a rule, other names
/// for the broker, and what is malformed in its CONNECT.
#[test]
fn a_record_with_everything() {
    let listener = r#", websocket: { forwarded_for: ["127.0.0.0/8"] },
        accept_proxy_protocol: { from: ["127.0.0.0/8"], tlvs: [0xE0] },
        connect: lenient, rules: [{ name: all, when: { client_id: "*" }, pool: p }],
        rewrite: { client_id: "new-${client_id}", username: "${source_ip}" }"#;
    let mut world = TwoProxies::connect_later(listener);
    let tlv = |kind: u8, value: &[u8]| [&[kind, 0, value.len() as u8], value].concat();
    let ssl = [
        &[0x07, 0, 0, 0, 0][..],
        &tlv(0x21, b"TLSv1.3"),
        &tlv(0x22, b"device 7"),
        &tlv(0x23, b"TLS_AES_128_GCM_SHA256"),
    ]
    .concat();
    let tlvs = [tlv(0x02, b"sni.example"), tlv(0x20, &ssl), tlv(0xE0, b"kept")].concat();
    let addresses = [10, 1, 2, 3, 10, 9, 9, 9, 0x12, 0x34, 0x07, 0x5B];
    let header = [
        b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
        &[0x21, 0x11, 0, (addresses.len() + tlvs.len()) as u8],
        &addresses,
        &tlvs,
    ]
    .concat();
    world.client.socket().write_all(&header).unwrap();
    world.client.upgrade();
    // The remaining length is not in its shortest form.
    let connect = b"\x10\x94\x80\x00\x00\x04MQTT\x05\x82\x00\x3C\x00\x00\x02me\x00\x03you";
    world.client.send(connect);
    let mut broker = Peer::accept(&world.brokers, None);
    broker.expect_until(b"\x00\x06new-me\x00\x0810.1.2.3");
    broker.send(CONNACK_V5);
    world.client.expect(CONNACK_V5);
    world.broker = broker;
    world.move_session();
    world.exchange();
    drop(world.client);
    assert_eq!(world.broker.rest(), b"");
    drop(world.broker);
    let end = world.new.end();
    let begin = world.old.lines("connect").remove(0);
    for (name, value) in lasting(&begin) {
        assert_eq!(&end[name], value, "{name}");
    }
    for (name, value) in [
        ("client", "10.1.2.3:4660"),
        ("sni", "sni.example"),
        ("tls_cn", "device 7"),
        ("transport", "ws"),
        ("path", "/mqtt"),
        ("rule", "all"),
        ("broker_client_id", "new-me"),
        ("client_id", "me"),
        ("username", "you"),
        ("connect_malformed", "the remaining length is not in its shortest form"),
    ] {
        assert_eq!(end[name], value, "{name}: {end}");
    }
    assert_eq!(end["proxy_tlvs"]["0xE0"], "kept", "{end}");
}

/// A newer session of a client on another broker replaces one that moves here later; on the same
/// broker, the broker decides.
#[test]
fn a_newer_session_is_here_already() {
    for other_broker in [true, false] {
        let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
        world.restart_new(|config| {
            let pool = &mut config.pools[0];
            if other_broker {
                let other = Upstream { name: "other".into(), ..pool.upstreams[0].clone() };
                pool.upstreams.push(other);
                pool.upstreams[0].weight = NonZeroU32::MIN;
                pool.upstreams[1].weight = NonZeroU32::new(1000).unwrap();
            }
        });
        let mut newer = Peer::connect(world.new.address, None);
        newer.send(CONNECT_V5);
        let mut of_newer = Peer::accept(&world.brokers, None);
        of_newer.expect(CONNECT_V5);
        of_newer.send(CONNACK_V5);
        newer.expect(CONNACK_V5);
        assert_eq!(move_all(&world.old, &world.new), []);
        if other_broker {
            // Session taken over.
            assert_eq!(world.client.rest(), [0xE0, 1, 0x8E]);
            assert_eq!(world.new.end()["end_cause"], "taken_over");
        } else {
            world.exchange();
        }
        newer.send(b"\xC0\0");
        of_newer.expect(b"\xC0\0");
    }
}

/// Sessions count towards the limits of the new process, beyond them as well.
#[test]
fn limits() {
    let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
    world.restart_new(|config| {
        config.limits.max_connections_per_ip = NonZeroU32::new(1);
        config.limits.max_connections = NonZeroU32::new(1);
    });
    assert_eq!(move_all(&world.old, &world.new), []);
    world.exchange();
    let mut second = Peer::connect(world.new.address, None);
    second.send(CONNECT_V5);
    // Quota exceeded.
    assert_eq!(second.rest()[..4], [0x20, 3, 0, 0x97]);
    world.exchange();
}
