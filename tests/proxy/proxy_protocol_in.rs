//! PROXY headers in front of clients: the client that they name, and which ones are refused.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::{
    bad_input::undisturbed,
    broker::Broker,
    client::{CONNACK_V3, Client, connack, connect, publish},
    config::Config,
    harness::{PATIENCE, Proxy, end, run},
    proxy_header::{DESTINATION, SIGNATURE, raw_v2, ssl, tlv, v1, v2, with_checksum},
};

/// Headers are believed from 127.0.0.1, where clients connect from unless they say otherwise.
fn trusting(config: Config) -> Config {
    config.listener("accept_proxy_protocol: { from: [127.0.0.1] }")
}

/// A connection from 127.0.0.2, whose headers nobody believes.
pub(crate) fn stranger(address: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    Client::on(TcpStream::from(socket))
}

fn local(client: &Client) -> String {
    client.stream.local_addr().unwrap().to_string()
}

/// Opens a session behind a header, and ends it.
#[track_caller]
fn session(proxy: &Proxy, header: &[u8], id: &str) -> (Value, String) {
    let mut client = Client::open(proxy.address());
    client.send(&[header, &connect(4, id)].concat());
    client.expect(CONNACK_V3);
    client.echo(&publish(id.as_bytes()));
    let peer = local(&client);
    drop(client);
    (proxy.wait_end(id), peer)
}

#[test]
fn the_client_is_who_the_header_names() {
    let broker = Broker::echoing();
    let proxy = trusting(Config::of([&broker])).start();
    let tlvs = [
        tlv(0x01, b"mqtt"),
        tlv(0x02, b"mqtt.example"),
        tlv(0x05, b"77"),
        ssl("TLSv1.3", "device-7", "TLS_AES_128_GCM_SHA256"),
        tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9"),
        tlv(0x04, b""),
    ]
    .concat();
    let v4 = "192.0.2.1:56324";
    let v6 = "[2001:db8::1]:56324";
    let with_tlvs = v2(v4, DESTINATION, &tlvs);
    for (id, header, client) in [
        ("text", v1(v4, DESTINATION), v4),
        ("text-6", v1(v6, "[2001:db8::2]:1883"), v6),
        ("mapped", v1("[::ffff:192.0.2.1]:56324", "[::ffff:198.51.100.2]:1"), v4),
        ("binary", v2(v4, DESTINATION, b""), v4),
        ("binary-6", v2(v6, "[2001:db8::2]:1883", b""), v6),
        ("tlvs", with_tlvs.clone(), v4),
        ("checksum", with_checksum(with_tlvs), v4),
    ] {
        let (line, peer) = session(&proxy, &header, id);
        assert_eq!((&line["client"], &line["peer"]), (&client.into(), &peer.into()), "{id}");
        assert_eq!(end(&line), "client/relay/closed", "{id}");
        // The client's own bytes, not the balancer's.
        let sent = connect(4, id).len() + publish(id.as_bytes()).len();
        assert_eq!(line["bytes_in"], sent, "{id}");
        assert_eq!(proxy.wait_connected(id)["client"], client);
    }
}

#[test]
fn who_is_no_client_stays_who_he_is() {
    let broker = Broker::echoing();
    let proxy = trusting(Config::of([&broker])).start();
    let unix = raw_v2(0x21, 0x31, &[b'/'; 216]);
    for (id, header) in [
        ("local", raw_v2(0x20, 0x00, b"")),
        ("local-nonsense", raw_v2(0x20, 0x11, b"\x20\xFF\xFF")),
        ("unspecified", raw_v2(0x21, 0x00, b"")),
        ("datagram", raw_v2(0x21, 0x12, &[1; 12])),
        ("unix", unix),
        ("unknown", b"PROXY UNKNOWN\r\n".to_vec()),
        ("unknown-more", b"PROXY UNKNOWN ::1 ::2 1 2\r\n".to_vec()),
    ] {
        let (line, peer) = session(&proxy, &header, id);
        assert_eq!((&line["client"], &line["peer"]), (&peer.into(), &Value::Null), "{id}");
    }
}

/// Headers of balancers' own health checks, after which they leave.
#[test]
fn checks_that_close_at_once() {
    let broker = Broker::echoing();
    let proxy = trusting(Config::of([&broker])).start();
    for (n, header) in
        [raw_v2(0x20, 0, b""), b"PROXY UNKNOWN\r\n".to_vec(), b"".to_vec()].iter().enumerate()
    {
        let mut check = Client::open(proxy.address());
        check.send(header);
        check.finish();
        check.expect_end();
        let line = proxy.wait_ends(n + 1).remove(n);
        let (phase, detail) = match header[..] {
            [] => ("handshake", "nothing was sent; a PROXY header was expected"),
            _ => ("connect", "nothing was sent"),
        };
        assert_eq!(end(&line), format!("client/{phase}/closed"));
        assert_eq!((&line["event"], &line["detail"]), (&"probe".into(), &detail.into()));
    }
    assert_eq!(proxy.metric("mqtt_lb_probes_total", &["listener=\"mqtt\""]) as u64, 3);
    assert_eq!(broker.connections(), 0);
}

/// Wherever the network cuts it, and however slowly it comes.
#[test]
fn headers_in_pieces() {
    let broker = Broker::echoing();
    let proxy = trusting(Config::of([&broker])).start();
    let headers = [
        v1("192.0.2.1:56324", DESTINATION),
        with_checksum(v2("192.0.2.1:56324", DESTINATION, &tlv(0x02, b"mqtt.example"))),
    ];
    let mut sessions = 0;
    for (n, header) in headers.iter().enumerate() {
        let whole = |id: &str| [header.as_slice(), &connect(4, id), &publish(b"behind")].concat();
        for cut in 1..whole("x").len() {
            let id = format!("cut-{n}-{cut}");
            let mut client = Client::open(proxy.address());
            let bytes = whole(&id);
            client.send(&bytes[..cut]);
            client.send(&bytes[cut..]);
            client.expect(&[CONNACK_V3, &publish(b"behind")].concat());
            sessions += 1;
        }
        let id = format!("dribbled-{n}");
        let mut client = Client::open(proxy.address());
        for byte in whole(&id) {
            client.send(&[byte]);
        }
        client.expect(&[CONNACK_V3, &publish(b"behind")].concat());
        sessions += 1;
    }
    let ends = proxy.wait_ends(sessions);
    assert_eq!(ends.len(), sessions);
    assert!(ends.iter().all(|line| line["client"] == "192.0.2.1:56324"));
}

/// What is sent, and what is said of it.
fn bad_headers() -> Vec<(Vec<u8>, &'static str)> {
    let missing = "from a peer within accept_proxy_protocol.from";
    let v4 = "192.0.2.1:56324";
    let good = with_checksum(v2(v4, DESTINATION, b""));
    let damaged = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let claiming =
        |len: u16, rest: &[u8]| [SIGNATURE, b"\x21\x11", &len.to_be_bytes(), rest].concat();
    vec![
        (connect(4, "without"), missing),
        (connect(5, "without"), "no PROXY header (first byte 0x10)"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), missing),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03".to_vec(), missing),
        (b"\x00".to_vec(), missing),
        (b"PROXY\tTCP4".to_vec(), missing),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), missing),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n".to_vec(), "two addresses and two ports"),
        (b"PROXY TCP4 ::1 ::2 1 2\r\n".to_vec(), "does not match the protocol family"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n".to_vec(), "invalid port"),
        (b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n".to_vec(), "TCP4, TCP6, UNKNOWN"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n".to_vec(), "CR LF within 107 bytes"),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat(), "CR LF within 107 bytes"),
        (raw_v2(0x22, 0x11, &[0; 12]), "unknown version and command 0x22"),
        (raw_v2(0x11, 0x11, &[0; 12]), "unknown version and command 0x11"),
        (raw_v2(0x21, 0x41, &[0; 12]), "unknown address family and transport 0x41"),
        (raw_v2(0x21, 0x13, &[0; 12]), "unknown address family and transport 0x13"),
        (claiming(11, b""), "too short for its addresses"),
        (claiming(0, &connect(4, "lies")), "too short for its addresses"),
        (claiming(4081, b""), "its length of 4097 bytes exceeds the limit of 4096"),
        (claiming(0xFFFF, b""), "its length of 65551 bytes exceeds the limit of 4096"),
        // A length that swallows the CONNECT, or as much of it as is not a TLV.
        (v2(v4, DESTINATION, &connect(4, "swallowed")), "past the end"),
        (v2(v4, DESTINATION, b"\x02\x00\x0Atoo short"), "past the end"),
        (v2(v4, DESTINATION, &tlv(0x02, b"\xC3\x28")), "TLV 0x02 is not valid UTF-8"),
        (v2(v4, DESTINATION, &tlv(0x05, &[0; 129])), "TLV 0x05 has an invalid length"),
        (v2(v4, DESTINATION, &tlv(0x20, b"\x01")), "TLV 0x20 has an invalid length"),
        (v2(v4, DESTINATION, &[tlv(0x02, b"a"), tlv(0x02, b"b")].concat()), "duplicate TLV 0x02"),
        (damaged(16), "the CRC-32C does not match"),
        (damaged(good.len() - 1), "the CRC-32C does not match"),
    ]
}

#[test]
fn bad_headers_are_refused() {
    let broker = Broker::echoing();
    let proxy = trusting(Config::of([&broker])).more("timeouts: { connect_packet: 2s }").start();
    let cases = bad_headers();
    for (n, (sent, said)) in cases.iter().enumerate() {
        let mut client = Client::open(proxy.address());
        client.send(sent);
        client.expect_end();
        let line = proxy.wait_ends(n + 1).remove(n);
        assert_eq!(line["event"], "reject");
        assert_eq!(end(&line), "proxy/handshake/malformed", "{}", sent.escape_ascii());
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&sent.len().into(), &0.into()));
        assert_eq!((&line["client"], &line["peer"]), (&local(&client).into(), &Value::Null));
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail:?} of {}", sent.escape_ascii());
    }
    let refused = proxy.metric("mqtt_lb_rejects_total", &["reason=\"malformed\""]);
    assert_eq!(refused as usize, cases.len());
    assert_eq!(broker.connections(), 0);
}

/// What is never finished is not waited for without end, and nobody else notices.
#[test]
fn headers_that_are_never_finished() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).more("timeouts: { connect_packet: 2s }");
    let proxy = config.listener("accept_proxy_protocol: { from: [127.0.0.2] }").start();
    let before = proxy.memory();
    let lying = [SIGNATURE, b"\x21\x11\x0F\xF0", &[0; 4000]].concat();
    let begun = [b"".to_vec(), b"PROXY TCP4 ".to_vec(), lying[..20].to_vec(), lying.clone()];
    undisturbed(&proxy, || {
        let slow: Vec<_> = begun
            .iter()
            .map(|sent| {
                let mut client = stranger(proxy.address());
                client.send(sent);
                client
            })
            .collect();
        for sent in &begun[1..] {
            let mut hasty = stranger(proxy.address());
            hasty.send(sent);
            hasty.finish();
            hasty.expect_end();
        }
        for mut client in slow {
            client.expect_end();
        }
    });
    let rejects: Vec<_> =
        proxy.wait_ends(11).into_iter().filter(|line| line["event"] == "reject").collect();
    assert_eq!(rejects.len(), 7);
    for (ended, count) in [("proxy/handshake/timeout", 4), ("client/handshake/closed", 3)] {
        assert_eq!(rejects.iter().filter(|line| end(line) == ended).count(), count, "{ended}");
    }
    let said = |detail: &str| rejects.iter().filter(|line| line["detail"] == *detail).count();
    assert_eq!(said("no complete PROXY header was sent"), 4);
    assert_eq!(said("incomplete PROXY header: only 11 bytes were sent"), 1);
    assert_eq!(said("incomplete PROXY header: only 20 bytes were sent"), 1);
    assert_eq!(said("incomplete PROXY header: only 4016 bytes were sent"), 1);
    let counted = rejects.iter().filter(|line| line["bytes_in"] == 4016).count();
    assert_eq!(counted, 2);
    assert!(proxy.memory().saturating_sub(before) < 4 << 20);
}

#[test]
fn headers_of_strangers_are_refused_and_strangers_are_served() {
    let broker = Broker::echoing();
    let proxy = trusting(Config::of([&broker])).start();
    let mut client = stranger(proxy.address());
    let address = local(&client);
    client.send(&connect(5, "stranger"));
    client.expect(&connack(5, 0));
    drop(client);
    let line = proxy.wait_end("stranger");
    assert_eq!((&line["client"], &line["peer"]), (&address.into(), &Value::Null));

    let v4 = "192.0.2.1:56324";
    for (n, header) in
        [v1(v4, DESTINATION), v2(v4, DESTINATION, b""), raw_v2(0x20, 0, b"")].iter().enumerate()
    {
        let mut client = stranger(proxy.address());
        client.send(&[header.as_slice(), &connect(4, "liar")].concat());
        let _ = client.rest();
        let line = proxy.wait_ends(n + 2).remove(n + 1);
        assert_eq!(end(&line), "proxy/connect/malformed");
        assert_eq!(line["client"], local(&client));
        let said = "a PROXY header from a peer that is not within accept_proxy_protocol.from";
        assert_eq!(line["detail"], said);
    }
    assert_eq!(broker.connections(), 1);
}

/// Two balancers, one behind the other, of which the second does not know of the first.
#[test]
fn a_second_header_is_refused() {
    let broker = Broker::echoing();
    let proxy = trusting(Config::of([&broker])).start();
    let twice = v1("192.0.2.1:56324", DESTINATION).repeat(2);
    let mut client = Client::exchange(proxy.address(), &twice, b"");
    let _ = client.rest();
    let line = proxy.wait_ends(1).remove(0);
    assert_eq!(end(&line), "proxy/connect/malformed");
    assert_eq!(line["detail"], "a misplaced PROXY header: after another one, or inside TLS");
    assert_eq!(
        (&line["client"], &line["peer"]),
        (&"192.0.2.1:56324".into(), &local(&client).into())
    );
}

/// What is wrong behind a header is answered as it is without one.
#[test]
fn a_bad_connect_behind_a_good_header() {
    let broker = Broker::echoing();
    let proxy = trusting(Config::of([&broker])).start();
    let header = v2("192.0.2.1:56324", DESTINATION, b"");
    let reserved_flag = b"\x10\x0E\x00\x04MQTT\x05\x03\x00\x3C\x00\x00\x01c";
    let sent = [header.as_slice(), reserved_flag].concat();
    Client::exchange(proxy.address(), &sent, &connack(5, 0x81)).expect_end();
    let line = proxy.wait_ends(1).remove(0);
    assert_eq!(end(&line), "proxy/connect/malformed");
    assert_eq!((&line["client"], &line["bytes_in"]), (&"192.0.2.1:56324".into(), &16.into()));
}

#[test]
fn limits_go_by_the_client() {
    let broker = Broker::echoing();
    let limits = "limits: { max_connections_per_ip: 2 }";
    let proxy = trusting(Config::of([&broker])).workers(2).more(limits).start();
    let open = |client: &str, id: &str, answer: &[u8]| {
        let sent = [v1(client, DESTINATION), connect(5, id)].concat();
        Client::exchange(proxy.address(), &sent, answer)
    };
    let (welcome, refused) = (connack(5, 0), connack(5, 0x97));
    let mut held: Vec<_> = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "192.0.2.2:2"]
        .iter()
        .map(|client| open(client, client, &welcome))
        .collect();
    open("192.0.2.1:3", "third", &refused).expect_end();
    assert_eq!(proxy.wait_end("third")["client"], "192.0.2.1:3");
    open("192.0.2.3:1", "other", &welcome);
    drop(held.remove(0));
    proxy.wait_end("192.0.2.1:1");
    proxy.wait_metric("mqtt_lb_connections_active", &[], 3.0);
    open("192.0.2.1:4", "again", &welcome);
}

#[test]
fn stickiness_goes_by_the_client() {
    let brokers = [Broker::echoing(), Broker::echoing(), Broker::echoing()];
    let config = trusting(Config::of(&brokers)).pool("balance: { key: source_ip }");
    let proxy = config.start();
    let mut seen = std::collections::BTreeSet::new();
    for n in 1..=20 {
        let ip = format!("192.0.2.{n}");
        let id = format!("of-{n}");
        let (line, _) = session(&proxy, &v1(&format!("{ip}:1"), DESTINATION), &id);
        let args = ["route", "-c", &proxy.config_file(), "--source", &ip, "--json", &id];
        let routed: Value = serde_json::from_slice(&run(&args, "").stdout).unwrap();
        assert_eq!(line["upstream"], routed["brokers"][0], "{ip}");
        seen.insert(line["upstream"].to_string());
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn balancers_on_a_unix_socket() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).bind("unix:mqtt.sock");
    let proxy = config.listener("accept_proxy_protocol: { from: [unix] }").start();
    let connect_to = || {
        let client = UnixStream::connect(proxy.path("mqtt.sock")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    };
    let mut client = connect_to();
    let sent = [v1("192.0.2.1:56324", DESTINATION), connect(4, "named")].concat();
    client.write_all(&sent).unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, CONNACK_V3);
    drop(client);
    let line = proxy.wait_end("named");
    assert_eq!((&line["client"], &line["peer"]), (&"192.0.2.1:56324".into(), &Value::Null));

    let mut client = connect_to();
    client.write_all(&connect(4, "unnamed")).unwrap();
    let _ = client.read_to_end(&mut Vec::new());
    let line = proxy.wait_ends(2).remove(1);
    assert_eq!(end(&line), "proxy/handshake/malformed");
}
