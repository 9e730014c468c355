//! What one side sent is what the other got, byte for byte.

use std::{
    io::Read,
    sync::mpsc::{Receiver, channel},
};

use crate::{
    broker::{Broker, Link, version},
    client::{
        CONNACK_V3, CONNACK_V5, Client, Connect, DISCONNECT, connack, connect, packet, publish,
        text,
    },
    config::Config,
    harness::{PATIENCE, end},
};

/// Accepts with `answer` for a CONNACK, and tells every byte of each connection at its end.
fn recording(
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> (Broker, Receiver<Vec<u8>>) {
    let (told, heard) = channel();
    let broker = Broker::start(move |mut link: Link| {
        let Some(mut bytes) = link.read_packet() else { return };
        link.send(&answer(&bytes));
        if link.stream.read_to_end(&mut bytes).is_ok() {
            let _ = told.send(bytes);
        }
    });
    (broker, heard)
}

/// Every property that a 5.0 CONNECT and its Will may have, two User Properties among them.
fn full_v5() -> Vec<u8> {
    let properties = [
        &b"\x11\x00\x00\x0E\x10\x21\x00\x14\x27\x00\x01\x00\x00\x22\x00\x0A\x19\x01\x17\x00"[..],
        b"\x26\x00\x01a\x00\x01b\x26\x00\x01a\x00\x02\xC3\xA9\x15\x00\x05SCRAM\x16\x00\x03\x00\xFF\x01",
    ]
    .concat();
    let will_properties = b"\x18\x00\x00\x00\x05\x01\x01\x02\x00\x00\x00\x3C\x03\x00\x04text\
        \x08\x00\x02r/\x09\x00\x02\x00\x01\x26\x00\x01k\x00\x01v";
    let mut will = vec![will_properties.len() as u8];
    will.extend(will_properties);
    will.extend(text("last/words"));
    will.extend(b"\x00\x04\x00\xFF\xFE\x00");
    Connect {
        properties: &properties,
        will: Some((0x04 | 0x10 | 0x20, will)),
        password: Some("secret"),
        ..Connect::new(5, "full").username("user")
    }
    .bytes()
}

fn full_v3(version: u8, id: &str, bridge: bool) -> Vec<u8> {
    let will = [&text("last/words")[..], b"\x00\x03\xFF\x00\x80"].concat();
    Connect {
        bridge,
        will: Some((0x04 | 0x08, will)),
        password: Some("secret"),
        ..Connect::new(version, id).username("user")
    }
    .bytes()
}

#[test]
fn every_version_passes_untouched() {
    let (broker, heard) = recording(|connect| connack(version(connect), 0));
    let proxy = Config::of([&broker]).start();
    // A remaining length in a longer form than it needs, which only 3.x allows.
    let mut padded = connect(4, "padded");
    padded.splice(1..2, [padded[1] | 0x80, 0x00]);
    let plain: [(Vec<u8>, &str, &str, u64, bool); 9] = [
        (connect(3, "v31"), "v31", "MQIsdp", 3, false),
        (connect(4, "v311"), "v311", "MQTT", 4, false),
        (connect(5, "v5"), "v5", "MQTT", 5, false),
        (full_v3(3, "full31", false), "full31", "MQIsdp", 3, false),
        (full_v3(4, "full311", false), "full311", "MQTT", 4, false),
        (full_v5(), "full", "MQTT", 5, false),
        (full_v3(3, "bridge31", true), "bridge31", "MQIsdp", 3, true),
        (full_v3(4, "bridge311", true), "bridge311", "MQTT", 4, true),
        (padded, "padded", "MQTT", 4, false),
    ];
    for (connect, id, name, level, bridge) in plain {
        let answer = connack(level as u8, 0);
        let mut client = Client::exchange(proxy.address(), &connect, &answer);
        client.finish();
        client.expect_end();
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), connect, "{id}");
        let line = proxy.wait_end(id);
        assert_eq!(end(&line), "client/relay/closed");
        assert_eq!(line["protocol_name"], name);
        assert_eq!(line["protocol_version"], level);
        assert_eq!(line["bridge"], bridge);
        assert_eq!(line["bytes_in"], connect.len());
        assert_eq!(line["bytes_out"], answer.len());
        assert_eq!(line["connack"], 0);
        assert_eq!(line["tries"], 1);
    }
    let full = proxy.wait_connected("full");
    for (field, value) in [
        ("username", "user".into()),
        ("has_password", true.into()),
        ("clean_start", true.into()),
        ("keepalive", 60.into()),
        ("will", true.into()),
        ("session_expiry", 3600.into()),
        ("pool", "brokers".into()),
        ("upstream", "b1".into()),
        ("upstream_address", broker.address.to_string().into()),
        ("route", "hash".into()),
        ("listener", "mqtt".into()),
        ("transport", "tcp".into()),
        ("connack_reason", "success".into()),
        ("session_present", false.into()),
    ] as [(&str, serde_json::Value); 14]
    {
        assert_eq!(full[field], value, "{field}");
    }
}

#[test]
fn a_connect_in_single_bytes() {
    let (broker, heard) = recording(|connect| connack(version(connect), 0));
    let proxy = Config::of([&broker]).start();
    let mut client = Client::open(proxy.address());
    let connect = full_v5();
    for byte in &connect {
        client.send(&[*byte]);
    }
    client.expect(CONNACK_V5);
    client.finish();
    client.expect_end();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), connect);
}

/// Larger than one read, and than what a socket takes at once while nobody reads.
#[test]
fn the_largest_of_connects() {
    let (broker, heard) = recording(|connect| connack(version(connect), 0));
    let proxy = Config::of([&broker]).more("limits: { connect_packet: 1MiB }").start();
    let long = "x".repeat(65_535);
    let will = [text(&long), text(&long)].concat();
    let connect = Connect {
        will: Some((0x04, will)),
        password: Some(&long),
        ..Connect::new(4, &long).username(&long)
    };
    let connect = connect.bytes();
    assert!(connect.len() > 5 * 65_535);
    let mut client = Client::exchange(proxy.address(), &connect, CONNACK_V3);
    client.finish();
    client.expect_end();
    assert!(heard.recv_timeout(PATIENCE).unwrap() == connect);
    assert_eq!(proxy.wait_ends(1)[0]["bytes_in"], connect.len());
}

#[test]
fn a_connack_in_single_bytes() {
    let connack = packet(0x20, b"\x01\x00\x09\x13\x00\x0A\x12\x00\x03new");
    let sent = connack.clone();
    let broker = Broker::start(move |mut link| {
        if link.read_packet().is_some() {
            for byte in &sent {
                link.send(&[*byte]);
            }
        }
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::exchange(proxy.address(), &connect(5, ""), &connack);
    client.expect_end();
    client.finish();
    let line = proxy.wait_ends(1).remove(0);
    assert_eq!(line["assigned_client_id"], "new");
    assert_eq!(line["session_present"], true);
    assert_eq!(line["bytes_out"], connack.len());
}

#[test]
fn what_is_pipelined_behind_a_connect_and_a_connack() {
    let more = [&publish(b"at once")[..], b"\xD0\x00"].concat();
    let behind = more.clone();
    let (broker, heard) = recording(move |_| [CONNACK_V3, &behind].concat());
    let proxy = Config::of([&broker]).start();
    let sent = [&connect(4, "eager")[..], &publish(&[7; 5000]), DISCONNECT].concat();
    let mut client = Client::open(proxy.address());
    client.send(&sent);
    client.finish();
    let (received, ended) = client.rest();
    assert_eq!(received, [CONNACK_V3, &more].concat());
    assert_eq!(ended, Ok(()));
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), sent);
    let line = proxy.wait_end("eager");
    assert_eq!(line["bytes_in"], sent.len());
    assert_eq!(line["bytes_out"], received.len());
    proxy.wait_metric("mqtt_lb_bytes_total", &["direction=\"in\""], sent.len() as f64);
    proxy.wait_metric("mqtt_lb_bytes_total", &["direction=\"out\""], received.len() as f64);
}

/// A broker that knows no 5.0 says so in the form that it knows.
#[test]
fn an_older_brokers_refusal() {
    let broker = Broker::start(|mut link| {
        if link.read_packet().is_some() {
            link.send(b"\x20\x02\x00\x01");
        }
    });
    let proxy = Config::of([&broker]).start();
    Client::exchange(proxy.address(), &connect(5, "new"), b"\x20\x02\x00\x01").expect_end();
    let line = proxy.wait_end("new");
    assert_eq!(end(&line), "upstream/connack/refused");
    assert_eq!(line["connack_reason"], "unacceptable_protocol_version");
}

/// More behind the CONNECT than the limit for it: that is the broker's, and no fault.
#[test]
fn a_flood_pipelined_behind_a_connect() {
    let (broker, heard) = recording(|connect| connack(version(connect), 0));
    let proxy = Config::of([&broker]).more("limits: { connect_packet: 1KiB }").start();
    let sent = [connect(4, "flood"), publish(&vec![9; 100_000])].concat();
    let mut client = Client::exchange(proxy.address(), &sent, CONNACK_V3);
    client.finish();
    client.expect_end();
    assert!(heard.recv_timeout(PATIENCE).unwrap() == sent);
}

/// AUTH both ways before the CONNACK (5.0 §4.12).
#[test]
fn enhanced_authentication() {
    let challenge = packet(0xF0, b"\x18\x0B\x15\x00\x05SCRAM\x16\x00\x00");
    let response = packet(0xF0, b"\x18\x0D\x15\x00\x05SCRAM\x16\x00\x02hi");
    let expected = [challenge.clone(), response.clone()];
    let (told, heard) = channel();
    let broker = Broker::start(move |mut link| {
        let Some(connect) = link.read_packet() else { return };
        let mut read = vec![connect];
        for _ in 0..3 {
            link.send(&expected[0]);
            read.extend(link.read_packet());
        }
        link.send(CONNACK_V5);
        let _ = told.send(read);
        let _ = link.read_packet();
    });
    let proxy = Config::of([&broker]).start();
    let connect = full_v5();
    let mut client = Client::exchange(proxy.address(), &connect, &challenge);
    for answer in [&challenge[..], &challenge, CONNACK_V5] {
        client.send(&response);
        client.expect(answer);
    }
    let read = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(read, [connect.clone(), response.clone(), response.clone(), response.clone()]);
    client.finish();
    client.expect_end();
    let line = proxy.wait_end("full");
    assert_eq!(line["bytes_in"], connect.len() + 3 * response.len());
    assert_eq!(line["bytes_out"], 3 * challenge.len() + CONNACK_V5.len());
}

/// A broker's refusal passes as it came, with what it carries, and ends as one reject.
#[test]
fn a_brokers_own_refusal() {
    let refusal = packet(0x20, b"\x00\x87\x0A\x1F\x00\x07go away");
    let answer = refusal.clone();
    let broker = Broker::start(move |mut link| {
        if link.read_packet().is_some() {
            link.send(&answer);
        }
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::exchange(proxy.address(), &connect(5, "nobody"), &refusal);
    client.expect_end();
    client.finish();
    let line = proxy.wait_end("nobody");
    assert_eq!(line["event"], "reject");
    assert_eq!(end(&line), "upstream/connack/refused");
    assert_eq!(
        (&line["connack"], &line["connack_reason"]),
        (&0x87.into(), &"not_authorized".into())
    );
    assert_eq!(line["bytes_out"], refusal.len());
    assert_eq!(proxy.metric("mqtt_lb_connacks_total", &["reason=\"not_authorized\""]) as u64, 1);
    assert_eq!(proxy.metric("mqtt_lb_sessions_total", &[]) as u64, 0);
}
