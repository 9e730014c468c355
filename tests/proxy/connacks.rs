//! What brokers answer before the relay: passed on as it is, within a limit of its own.

use crate::{
    broker::{Broker, Link},
    client::{Client, Connect, connack, connect, packet},
    config::Config,
    harness::{end, rejects, run},
    retry::id_of,
};

/// An answer that breaks the standard is for the client to judge, and the session goes on.
#[test]
fn malformed_connacks_are_passed_on() {
    let cases: [(u8, &'static [u8], &str); 12] = [
        (5, b"\x20\x05\x00\x00\x02\x25\x02", "the property Retain Available has an invalid value"),
        (5, b"\x20\x05\x01\x00\x02\x7E\x01", "unknown property 0x7e"),
        (
            5,
            b"\x20\x06\x00\x00\x03\x21\x00\x00",
            "the property Receive Maximum has an invalid value",
        ),
        (
            5,
            b"\x20\x09\x00\x00\x06\x21\x00\x0A\x21\x00\x0A",
            "the property Receive Maximum is duplicated",
        ),
        (5, b"\x20\x07\x00\x00\x04\x1A\x00\x01\xC0", "the Response Information is not valid UTF-8"),
        (5, b"\x20\x03\x00\x00\x05", "a field runs past the end"),
        (5, b"\x20\x05\x00\x00\x00ab", "2 bytes follow the last field"),
        (5, b"\x20\x03\x04\x00\x00", "reserved flags are set (0x04)"),
        (5, b"\x20\x83\x00\x00\x00\x00", "the remaining length is not in its shortest form"),
        (4, b"\x20\x04\x00\x00\x00\x00", "2 bytes follow the last field"),
        (4, b"\x22\x02\x00\x00", "reserved flags are set (first byte 0x22)"),
        (3, b"\x20\x03\x00\x00x", "1 bytes follow the last field"),
    ];
    for (version, answer, fault) in cases {
        let broker = Broker::start(move |mut link| {
            if link.read_packet().is_some() {
                link.send(answer);
                while let Some(packet) = link.read_packet() {
                    link.send(&packet);
                }
            }
        });
        let other = Broker::echoing();
        let proxy = Config::of([&broker, &other]).start();
        let id = id_of(&proxy, "b1");
        let mut client = Client::exchange(proxy.address(), &connect(version, &id), answer);
        client.echo(b"\xC0\x00");
        let line = proxy.wait_connected(&id);
        let said = line["connack_malformed"].as_str().unwrap_or_default();
        assert!(said.contains(fault), "{answer:x?}: {line}");
        assert_eq!((&line["connack"], &line["tries"]), (&0.into(), &1.into()));
        drop(client);
        assert_eq!(proxy.wait_end(&id)["connack_malformed"], said);
        assert_eq!(other.connections(), 0);
    }
}

/// A refusal that breaks the standard is one all the same.
#[test]
fn a_malformed_refusal() {
    let answer: &[u8] = b"\x20\x07\x00\x87\x04\x1F\x00\x01\xFF";
    let broker = Broker::start(move |mut link| {
        if link.read_packet().is_some() {
            link.send(answer);
        }
    });
    let proxy = Config::of([&broker]).start();
    Client::exchange(proxy.address(), &connect(5, "no"), answer).expect_end();
    let line = proxy.wait_end("no");
    assert_eq!(end(&line), "upstream/connack/refused");
    assert_eq!(
        (&line["connack"], &line["connack_reason"]),
        (&0x87.into(), &"not_authorized".into())
    );
    assert_eq!(line["connack_malformed"], "the Reason String is not valid UTF-8");
}

/// An answer without a code is not a CONNACK: the next broker is asked.
#[test]
fn answers_without_a_code() {
    for answer in
        [&b"\x20\x01\x00"[..], b"\x20\x00", b"\x30\x02\x00\x00", b"\x20\xFF\xFF\xFF\xFF\x00"]
    {
        let broker = Broker::start(move |mut link| {
            if link.read_packet().is_some() {
                link.send(answer);
            }
        });
        let good = Broker::echoing();
        let proxy = Config::of([&broker, &good]).start();
        let id = id_of(&proxy, "b1");
        Client::exchange(proxy.address(), &connect(4, &id), &connack(4, 0)).echo(b"\xC0\x00");
        let line = proxy.wait_connected(&id);
        assert_eq!((&line["upstream"], &line["tries"]), (&"b2".into(), &2.into()), "{answer:x?}");
        assert_eq!(line["connack_malformed"], serde_json::Value::Null);
    }
}

/// A CONNACK of so many bytes: user properties of 5.0.
fn connack_of(len: usize) -> Vec<u8> {
    // Of each of the two lengths in it.
    let length_bytes = if len < 16_384 { 2 } else { 3 };
    let properties = len - 1 - length_bytes - 2 - length_bytes;
    let mut block = Vec::new();
    while block.len() < properties {
        // A property takes five bytes and its value, so none is left that is shorter.
        let value = match properties - block.len() - 5 {
            left @ ..=40_000 => left,
            _ => 30_000,
        };
        block.extend([0x26, 0, 0]);
        block.extend((value as u16).to_be_bytes());
        block.resize(block.len() + value, b'v');
    }
    let with_length = &packet(0, &block)[1..];
    let connack = packet(0x20, &[&[0, 0][..], with_length].concat());
    assert_eq!(connack.len(), len);
    connack
}

/// The limit is the brokers' own, and nobody is blamed for a CONNACK over it.
#[test]
fn long_connacks() {
    for (limit, config) in
        [(256 * 1024, ""), (1000, "limits: { connect_packet: 100, connack_packet: 1000 }\n")]
    {
        for (len, fits) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
            let answer = connack_of(len);
            let sent = answer.clone();
            let broker = Broker::start(move |mut link: Link| {
                if link.read_packet().is_some() {
                    // The proxy may have left before it was all taken.
                    let _ = std::io::Write::write_all(&mut link.stream, &sent);
                    link.read_packet();
                }
            });
            let good = Broker::echoing();
            let proxy = Config::of([&broker, &good])
                .pool("health: { passive: { failures: 1, eject_for: 1h } }")
                .more(config)
                .start();
            let id = id_of(&proxy, "b1");
            if fits {
                Client::exchange(proxy.address(), &connect(5, &id), &answer);
                assert_eq!(proxy.wait_connected(&id)["tries"], 1);
                continue;
            }
            Client::exchange(proxy.address(), &connect(5, &id), &connack(5, 0x88)).expect_end();
            let line = proxy.wait_end(&id);
            assert_eq!(end(&line), "proxy/connack/limit");
            let detail =
                format!("a CONNACK of {len} bytes is over limits.connack_packet ({limit} bytes)");
            assert_eq!(line["detail"], detail);
            assert_eq!((&line["tries"], good.connections()), (&1.into(), 0));
            // Another client of that broker shows that nobody was ejected.
            Client::exchange(proxy.address(), &connect(5, &id), &connack(5, 0x88));
            rejects(&proxy, 2);
            assert_eq!(proxy.metric("mqtt_lb_upstream_ejections_total", &[]) as u64, 0);
        }
    }
}

/// Bytes of an authentication exchange are counted, however it ends.
#[test]
fn bytes_of_an_exchange_that_fails() {
    let (asked, replied) =
        (b"\xF0\x09\x18\x07\x15\x00\x04some", b"\xF0\x0B\x18\x09\x15\x00\x04some\x16\x00");
    let broker = Broker::start(move |mut link| {
        if link.read_packet().is_some() {
            link.send(asked);
            link.read_packet();
        }
    });
    let proxy = Config::of([&broker]).start();
    let connect = Connect::new(5, "auth").bytes();
    let mut client = Client::exchange(proxy.address(), &connect, asked);
    client.send(&replied[..]);
    client.expect(&connack(5, 0x88));
    client.expect_end();
    let line = proxy.wait_end("auth");
    assert_eq!(end(&line), "upstream/connack/closed");
    assert_eq!(line["bytes_in"], connect.len() + replied.len());
    assert_eq!(line["bytes_out"], asked.len() + 5);
}

#[test]
fn limits_of_the_limit() {
    for (value, fault) in [
        ("63", "63 bytes is out of range; allowed: 64 bytes to 268435460 bytes"),
        ("268435461", "268435461 bytes is out of range"),
        ("big", "allowed"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lb.yaml");
        let text = format!(
            "listeners: [{{ name: mqtt, bind: \"127.0.0.1:0\", pool: p }}]\n\
             pools: [{{ name: p, upstreams: [{{ name: b, address: \"127.0.0.1:1\" }}] }}]\n\
             limits: {{ connack_packet: {value} }}\n"
        );
        std::fs::write(&file, text).unwrap();
        let output = run(&["check", "-c", file.to_str().unwrap()], "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("limits.connack_packet") && said.contains(fault), "{said}");
    }
}
