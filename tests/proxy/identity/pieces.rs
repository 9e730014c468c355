//! CONNECTs that arrive in pieces, with packets behind them, and the longest ones.

use super::packets::recording;
use crate::{
    client::{Client, Connect, connack, packet, text},
    config::Config,
    harness::{PATIENCE, Proxy},
};

const RULES: [&str; 2] = [
    "require: [{ client_id: \"${username}-*\" }]",
    "rewrite: { client_id: \"${listener}/${client_id}\", username: \"u\", password: none, \
     user_properties: [ { name: ip, value: \"${source_ip}\" } ] }",
];

fn start(broker: &crate::broker::Broker) -> Proxy {
    RULES.into_iter().fold(Config::of([broker]), Config::listener).start()
}

/// Whatever the segments, the broker gets the same bytes, and what follows stays as it was.
#[test]
fn any_split_is_one_connect() {
    let (broker, connects) = recording();
    let proxy = start(&broker);
    let will = Some((0x2C, [b"\x00".to_vec(), text("t"), text("gone")].concat()));
    let behind =
        [packet(0x32, b"\x00\x01t\x00\x07\x00payload"), b"\xC0\x00".to_vec(), b"\xE0\x00".to_vec()];
    // At 0 in one piece; at the end a byte at a time.
    let len = |id: &str| sent(id, will.clone()).bytes().len();
    for split in 0..=len("anna-000") + 1 {
        let id = format!("anna-{split:03}");
        let sent = sent(&id, will.clone());
        let bytes = [sent.bytes(), behind.concat()].concat();
        let mut client = Client::open(proxy.address());
        if split > sent.bytes().len() {
            for byte in &bytes {
                client.send(&[*byte]);
            }
        } else {
            client.send(&bytes[..split]);
            client.send(&bytes[split..]);
        }
        client.expect(&connack(5, 0));
        client.expect(&behind.concat());
        let new_id = format!("mqtt/{id}");
        let wanted = Connect {
            id: &new_id,
            username: Some("u"),
            password: None,
            properties: b"\x11\x00\x00\x0E\x10\x26\x00\x02ip\x00\x09127.0.0.1",
            ..sent.clone()
        };
        assert_eq!(connects.recv_timeout(PATIENCE).unwrap(), wanted.bytes(), "{split}");
        drop(client);
        let line = proxy.wait_end(&id);
        assert_eq!(line["bytes_in"], bytes.len(), "{split}");
        assert_eq!(line["bytes_out"], 5 + behind.concat().len(), "{split}");
    }
}

fn sent(id: &str, will: Option<(u8, Vec<u8>)>) -> Connect<'_> {
    Connect {
        will,
        username: Some("anna"),
        password: Some("secret"),
        properties: b"\x11\x00\x00\x0E\x10",
        ..Connect::new(5, id)
    }
}

/// A client ID of the longest length stays as it is where only other fields change.
#[test]
fn the_longest_client_id() {
    let (broker, connects) = recording();
    let config = Config::of([&broker]).more("limits: { connect_packet: 128KiB }");
    let long = "x".repeat(65_535);
    for (rewrite, username) in [("${listener}", "mqtt"), ("${client_id}", &*long)] {
        let proxy = config
            .clone()
            .listener(&format!("rewrite: {{ username: \"{rewrite}\" }}"))
            .listener("require: [{ client_id: \"x*x\" }]")
            .start();
        for version in [3, 4, 5] {
            let sent = Connect::new(version, &long);
            let bytes = [sent.bytes(), b"\xC0\x00".to_vec()].concat();
            let mut client = Client::open(proxy.address());
            // The last byte of the CONNECT comes later than the rest, with a packet behind it.
            let (first, last) = bytes.split_at(bytes.len() - 3);
            client.send(first);
            client.send(last);
            client.expect(&connack(version, 0));
            client.expect(b"\xC0\x00");
            let wanted = sent.username(username).bytes();
            assert!(connects.recv_timeout(PATIENCE).unwrap() == wanted, "{version}");
            drop(client);
            let line = proxy.wait_log("the end", |line| {
                line["event"] == "disconnect" && line["protocol_version"] == version
            });
            assert_eq!(line["bytes_in"], bytes.len());
            assert_eq!(line["bytes_out"], connack(version, 0).len() + 2);
            assert!(line.get("broker_client_id").is_none());
        }
    }
}

/// A refusal by `require` does not wait for what the client sends behind its CONNECT.
#[test]
fn refusals_with_packets_behind_the_connect() {
    let (broker, _connects) = recording();
    let proxy = start(&broker);
    for version in [4, 5] {
        let id = format!("bert-{version}");
        let sent = Connect { username: Some("anna"), ..Connect::new(version, &id) }.bytes();
        let bytes = [&sent[..], &packet(0x30, &text("t"))].concat();
        let mut client = Client::open(proxy.address());
        client.send(&bytes);
        client.expect(&connack(version, if version == 5 { 0x85 } else { 2 }));
        client.expect_end();
        let line = proxy.wait_end(&id);
        assert_eq!(line["bytes_in"], bytes.len());
        assert_eq!(line["bytes_out"], connack(version, 0).len());
    }
    assert_eq!(broker.connections(), 0);
}
