//! What an unauthenticated peer can send, while others go about their business.

use std::{
    io::Write,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, Connect, connack, connect, packet, publish, text},
    config::Config,
    harness::{Proxy, SetAtEnd, end, heavy, wait_for},
};

/// Runs `work` while sessions ping through the proxy, all of which have to be answered.
pub(crate) fn undisturbed<T>(proxy: &Proxy, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let round_trips = AtomicUsize::new(0);
    let value = thread::scope(|scope| {
        for n in 0..4 {
            let (address, done, round_trips) = (proxy.address(), &done, &round_trips);
            scope.spawn(move || {
                let mut client = Client::session(address, &format!("busy-{n}"));
                let mut id = 0u16;
                while !done.load(Ordering::Relaxed) {
                    id = id % 60_000 + 1;
                    let body = [&text("t")[..], &id.to_be_bytes(), b"payload"].concat();
                    client.echo(&packet(0x32, &body));
                    round_trips.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _end = SetAtEnd(&done);
        wait_for("traffic", || (round_trips.load(Ordering::Relaxed) > 20).then_some(()));
        let value = work();
        let until_now = round_trips.load(Ordering::Relaxed);
        wait_for("traffic to go on", || {
            (round_trips.load(Ordering::Relaxed) > until_now + 20).then_some(())
        });
        value
    });
    for n in 0..4 {
        assert_eq!(end(&proxy.wait_end(&format!("busy-{n}"))), "client/relay/closed");
    }
    value
}

/// A CONNECT whose variable header and payload are these.
fn raw(body: &[u8]) -> Vec<u8> {
    packet(0x10, body)
}

/// What is sent, the CONNACK that comes back if any does, and a word of the detail.
fn malformed() -> Vec<(Vec<u8>, Vec<u8>, &'static str)> {
    let no_level = |version: u8, code: u8| connack(version, code);
    let v5 = |flags: u8, rest: &[u8]| {
        raw(&[b"\x00\x04MQTT\x05", &[flags][..], b"\x00\x3C", rest].concat())
    };
    let mut all = vec![
        // Not MQTT at all.
        (b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec(), vec![], "an HTTP request: "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03".to_vec(), vec![], "a TLS handshake: "),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(), vec![], "a PROXY header, but"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), vec![], "a PROXY header, but"),
        (b"PROXY".to_vec(), vec![], "a PROXY header, but"),
        (b"PUBLISH".to_vec(), vec![], "0x50"),
        (b"\x00".to_vec(), vec![], "0x00"),
        (publish(b"too early"), vec![], "0x30"),
        (b"\xC0\x00".to_vec(), vec![], "0xc0"),
        (b"\xE0\x00".to_vec(), vec![], "0xe0"),
        (b"\x11\x0C\x00\x04MQTT".to_vec(), vec![], "0x11"),
        (b"\x10\xFF\xFF\xFF\xFF\x7F".to_vec(), vec![], "remaining length"),
        (b"\x10\x00".to_vec(), vec![], "past the end"),
        // A length of 256 MiB: where the version is known, 5.0 says why.
        (b"\x10\xFF\xFF\xFF\x7F\x00".to_vec(), vec![], "exceeds the limit of"),
        (b"\x10\xFF\xFF\xFF\x7F\x00\x04MQTT\x04".to_vec(), vec![], "exceeds the limit of"),
        (
            b"\x10\xFF\xFF\xFF\x7F\x00\x04MQTT\x05".to_vec(),
            connack(5, 0x95),
            "exceeds the limit of",
        ),
        // Names and levels.
        (raw(b"\x00\x04MQTX\x04\x02\x00\x3C\x00\x01c"), vec![], "protocol name"),
        (raw(b"\x00\x06MQTTSN\x04\x02\x00\x3C\x00\x01c"), vec![], "protocol name"),
        (raw(b"\x00\x04MQTT\x03\x02\x00\x3C\x00\x01c"), no_level(4, 1), "level 0x03"),
        (raw(b"\x00\x06MQIsdp\x04\x02\x00\x3C\x00\x01c"), no_level(3, 1), "level 0x04"),
        (raw(b"\x00\x04MQTT\x06\x02\x00\x3C\x00\x00\x01c"), no_level(5, 0x84), "level 0x06"),
        // Flags, strings and lengths of 5.0, each answered; of 3.x, below, each closed.
        (v5(0x03, b"\x00\x00\x01c"), connack(5, 0x81), "reserved connect flag"),
        (v5(0x1E, b"\x00\x00\x01c"), connack(5, 0x81), "Will QoS is 3"),
        (v5(0x0A, b"\x00\x00\x01c"), connack(5, 0x82), "without a Will"),
        (v5(0x02, b"\x00\x00\x02\xC3\x28"), connack(5, 0x81), "UTF-8"),
        (v5(0x02, b"\x00\x00\x01\x00"), connack(5, 0x81), "U+0000"),
        (v5(0x02, b"\x00\x00\x05abc"), connack(5, 0x81), "past the end"),
        (v5(0x02, b"\x00\x00\x01cx"), connack(5, 0x81), "follow the last field"),
        (
            v5(0x02, b"\x0A\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01\x00\x01c"),
            connack(5, 0x82),
            "duplicated",
        ),
        (v5(0x02, b"\x02\x7E\x00\x00\x01c"), connack(5, 0x81), "unknown property 0x7e"),
        (v5(0x02, b"\x03\x23\x00\x01\x00\x01c"), connack(5, 0x81), "is not allowed in this packet"),
        (v5(0x02, b"\x03\x21\x00\x00\x00\x01c"), connack(5, 0x82), "invalid value"),
        (
            v5(0x02, b"\x04\x16\x00\x01x\x00\x01c"),
            connack(5, 0x82),
            "without an Authentication Method",
        ),
        (v5(0x02, b"\xFF\xFF\xFF\xFF\x7F"), connack(5, 0x81), "four bytes"),
    ];
    for flags in [0x03, 0x1E, 0x0A, 0x42] {
        let body = [b"\x00\x04MQTT\x04", &[flags][..], b"\x00\x3C\x00\x01c"].concat();
        all.push((raw(&body), vec![], ""));
    }
    for payload in [&b"\x00\x02\xC3\x28"[..], b"\x00\x01\x00", b"\x00\x05abc", b"\x00\x01cx", b""] {
        for head in [&b"\x00\x04MQTT\x04\x02\x00\x3C"[..], b"\x00\x06MQIsdp\x03\x02\x00\x3C"] {
            all.push((raw(&[head, payload].concat()), vec![], ""));
        }
    }
    all
}

#[test]
fn malformed_connects() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let cases = malformed();
    undisturbed(&proxy, || {
        for (sent, answer, detail) in &cases {
            let mut client = Client::open(proxy.address());
            let client_address = client.stream.local_addr().unwrap().to_string();
            client.send(sent);
            client.expect(answer);
            // All that was sent has been read, so that the close is an orderly one.
            client.expect_end();
            let line = proxy.wait_log("its reject", |line| {
                line["client"] == *client_address && line["event"] == "reject"
            });
            assert_eq!(end(&line), "proxy/connect/malformed", "{sent:x?}");
            assert_eq!(line["connack"].as_u64(), answer.get(3).map(|&code| code.into()));
            assert_eq!(line["bytes_out"], answer.len(), "{sent:x?}");
            let said = line["detail"].as_str().unwrap();
            assert!(said.contains(detail), "{said:?} of {sent:x?}");
        }
    });
    let rejects = proxy.log().iter().filter(|line| line["event"] == "reject").count();
    assert_eq!(rejects, cases.len());
    let reason = &["reason=\"malformed\""];
    assert_eq!(proxy.metric("mqtt_lb_rejects_total", reason) as usize, cases.len());
    assert_eq!(broker.connections(), 4);
}

/// At the limit a CONNECT passes, a byte over it none does, and nothing of it is waited for.
#[test]
fn the_limit_of_a_connect() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("limits: { connect_packet: 200 }").start();
    // 5.0: 2 bytes of fixed header to 127 remaining, 3 above; 13 bytes of variable header and length.
    let fits = connect(5, &"i".repeat(200 - 3 - 13));
    assert_eq!(fits.len(), 200);
    Client::exchange(proxy.address(), &fits, &connack(5, 0));
    let over = connect(5, &"i".repeat(200 - 3 - 12));
    assert_eq!(over.len(), 201);
    Client::exchange(proxy.address(), &over[..10], &connack(5, 0x95)).expect_end();
    proxy.wait_log("the reject", |line| {
        line["detail"] == "the packet of 201 bytes exceeds the limit of 200"
    });
    assert_eq!(broker.connections(), 1);
}

const ROUNDS: usize = 300;

#[test]
fn random_bytes() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let mut random = fastrand::Rng::with_seed(7);
    undisturbed(&proxy, || {
        for round in 0..ROUNDS {
            let mut bytes = vec![0; random.usize(1..2000)];
            random.fill(&mut bytes);
            // From pure noise to noise behind the beginning of a CONNECT.
            match round % 3 {
                0 => bytes[0] |= 0x20,
                1 => bytes.splice(..0, *b"\x10\x30\x00\x04MQTT\x05").for_each(drop),
                _ => bytes.splice(..0, *b"\x10\x30\x00\x04MQTT\x04\x01").for_each(drop),
            }
            let mut client = Client::open(proxy.address());
            // The proxy may have closed before all is written.
            let _ = client.stream.write_all(&bytes);
            let _ = client.stream.shutdown(std::net::Shutdown::Write);
            let (answer, _) = client.rest();
            assert!(answer.is_empty() || answer[..2] == [0x20, 3], "{answer:x?}");
        }
        proxy.wait_ends(ROUNDS);
    });
    let rejects = proxy.log().iter().filter(|line| line["event"] == "reject").count();
    assert_eq!(rejects, ROUNDS);
    assert_eq!(proxy.metric("mqtt_lb_rejects_total", &[]) as usize, ROUNDS);
    assert_eq!(broker.connections(), 4);
}

/// A client that was refused and goes on sending is not listened to without end.
#[test]
fn a_flood_after_a_refusal() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let before = proxy.memory();
    let mut client = Client::open(proxy.address());
    let refused = raw(b"\x00\x04MQTT\x05\x03\x00\x3C\x00\x00\x01c");
    client.send(&refused);
    let flood = vec![0xAA; 64 * 1024];
    let sent = (0..4096).take_while(|_| client.stream.write_all(&flood).is_ok()).count();
    assert!(sent < 4096, "256 MiB were taken");
    proxy.wait_ends(1);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes");
}

const SILENT: usize = 5000;

/// As many as a flood of half-open clients: each costs next to nothing, and all are gone in time.
#[test]
fn silent_connections() {
    let _alone = heavy();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).more("timeouts: { connect_packet: 8s }").start();
    let before = proxy.memory();
    undisturbed(&proxy, || {
        let silent: Vec<_> = (0..SILENT).map(|_| Client::open(proxy.address())).collect();
        wait_for("all of them to be accepted", || {
            let active = proxy.metric("mqtt_lb_connections_active", &[]) as usize;
            (active >= SILENT + 4).then_some(())
        });
        let each = proxy.memory().saturating_sub(before) / SILENT as u64;
        assert!(each < 4096, "{each} bytes each");
        // A new client is served meanwhile.
        Client::session(proxy.address(), "new").echo(b"\xC0\x00");
        wait_for("all of them to be turned away", || {
            let timeouts = proxy.metric("mqtt_lb_rejects_total", &["reason=\"timeout\""]);
            (timeouts as usize >= SILENT).then_some(())
        });
        for mut client in silent {
            client.expect_end();
        }
    });
    wait_for("their lines", || {
        (proxy.log().iter().filter(|line| line["event"] == "reject").count() >= SILENT)
            .then_some(())
    });
    let log = proxy.log();
    let rejects: Vec<_> = log.iter().filter(|line| line["event"] == "reject").collect();
    assert_eq!(rejects.len(), SILENT);
    assert!(rejects.iter().all(|line| end(line) == "proxy/connect/timeout"));
    assert_eq!(proxy.metric("mqtt_lb_rejects_total", &[]) as usize, SILENT);
    let slowest =
        rejects.iter().filter_map(|line| line["duration_ms"].as_f64()).fold(0.0, f64::max);
    assert!(slowest < 20_000.0, "{slowest} ms");
}

const UNFINISHED: usize = 200;

/// Half a CONNECT of the largest size from each of many: no more is held than they sent.
#[test]
fn unfinished_connects() {
    let _alone = heavy();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("timeouts: { connect_packet: 20s }").start();
    let before = proxy.memory();
    let begun = &connect(4, &"x".repeat(60_000))[..30_000];
    undisturbed(&proxy, || {
        let clients: Vec<_> = (0..UNFINISHED)
            .map(|_| {
                let mut client = Client::open(proxy.address());
                client.send(begun);
                client
            })
            .collect();
        wait_for("the memory to show it", || {
            let held = proxy.memory().saturating_sub(before);
            (held > (UNFINISHED * begun.len() * 9 / 10) as u64).then_some(())
        });
        // Up to twice that, as a buffer doubles when it grows.
        let held = proxy.memory().saturating_sub(before) / UNFINISHED as u64;
        assert!(held < 80 * 1024, "{held} bytes each");
        drop(clients);
        proxy.wait_ends(UNFINISHED);
    });
}

/// Many threads of it at once, with good clients among them: each is answered by what it sent.
#[test]
fn good_and_bad_at_once() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    thread::scope(|scope| {
        for n in 0..8 {
            let address: SocketAddr = proxy.address();
            scope.spawn(move || {
                for round in 0..40 {
                    let id = format!("good-{n}-{round}");
                    let mut bad = Client::open(address);
                    bad.send(b"\x10\x0F\x00\x04MQTT\x05\x03\x00\x3C\x00");
                    let connect = Connect::new(4, &id).username("u").bytes();
                    let mut good = Client::exchange(address, &connect, CONNACK_V3);
                    bad.expect(&connack(5, 0x81));
                    good.echo(&publish(id.as_bytes()));
                    bad.expect_end();
                }
            });
        }
    });
    let ends = proxy.wait_ends(640);
    assert_eq!(ends.len(), 640);
    assert_eq!(ends.iter().filter(|line| line["event"] == "reject").count(), 320);
}
