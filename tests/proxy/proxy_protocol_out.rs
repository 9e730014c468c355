//! PROXY headers in front of what brokers are sent, byte for byte.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::mpsc::{self, Receiver},
};

use crate::{
    broker::{Broker, Link, echo_to},
    client::{CONNACK_V3, Client, DISCONNECT, connack, connect},
    config::Config,
    harness::{PATIENCE, Proxy, wait_for},
    health::{CHECKS, client_id, patient},
    proxy_header::{DESTINATION, SIGNATURE, raw_v2, ssl, tlv, v1, v2, with_checksum},
};

/// A header and the packet behind it, as a broker read them.
pub(crate) type Seen = (Vec<u8>, Vec<u8>);

/// A broker that reads a header before each CONNECT, and tells of both.
pub(crate) fn reading() -> (Broker, Receiver<Seen>) {
    let (tell, seen) = mpsc::channel();
    let broker = Broker::start(move |mut link| {
        let Some(header) = read_header(&mut link) else { return };
        let Some(connect) = link.read_packet() else { return };
        let _ = tell.send((header, connect.clone()));
        echo_to(link, &connect);
    });
    (broker, seen)
}

/// The next header, of either version, byte for byte.
pub(crate) fn read_header(link: &mut Link) -> Option<Vec<u8>> {
    let mut header = Vec::new();
    let mut next = |header: &mut Vec<u8>| {
        let mut byte = [0];
        link.stream.read_exact(&mut byte).ok()?;
        header.push(byte[0]);
        Some(())
    };
    next(&mut header)?;
    if header == b"P" {
        while header.last() != Some(&b'\n') {
            next(&mut header)?;
        }
        return Some(header);
    }
    while header.len() < 16 {
        next(&mut header)?;
    }
    let len = 16 + usize::from(u16::from_be_bytes([header[14], header[15]]));
    while header.len() < len {
        next(&mut header)?;
    }
    Some(header)
}

/// The session's ID, as the log has it and headers say it.
pub(crate) fn session_id(proxy: &Proxy, id: &str) -> Vec<u8> {
    let session = proxy.wait_connected(id)["session"].as_str().unwrap().to_owned();
    assert_eq!(session.len(), 16);
    session.into()
}

#[test]
fn version_1() {
    let (broker, seen) = reading();
    let proxy = Config::of([&broker]).pool("send_proxy_protocol: v1").start();
    let mut client = Client::session(proxy.address(), "four");
    client.echo(b"\xC0\x00");
    let from = client.stream.local_addr().unwrap().to_string();
    let wanted = (v1(&from, &proxy.address().to_string()), connect(4, "four"));
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), wanted);
    drop(client);
    // The header is not the client's, and no byte of its session.
    assert_eq!(proxy.wait_end("four")["bytes_in"], connect(4, "four").len() + 2);
}

#[test]
fn version_1_over_ipv6() {
    let (broker, seen) = reading();
    let config = Config::of([&broker]).bind("[::1]:0").pool("send_proxy_protocol: v1");
    let proxy = config.start();
    let client = Client::session(proxy.address(), "six");
    let from = client.stream.local_addr().unwrap().to_string();
    let (header, _) = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(header, v1(&from, &proxy.address().to_string()));
}

#[test]
fn version_2() {
    let (broker, seen) = reading();
    let proxy = Config::of([&broker]).pool("send_proxy_protocol: v2").start();
    for version in [3, 4, 5] {
        let id = format!("of-{version}");
        let sent = connect(version, &id);
        let mut client = Client::exchange(proxy.address(), &sent, &connack(version, 0));
        client.echo(b"\xC0\x00");
        let from = client.stream.local_addr().unwrap().to_string();
        let unique_id = tlv(0x05, &session_id(&proxy, &id));
        let header = with_checksum(v2(&from, &proxy.address().to_string(), &unique_id));
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (header, sent));
    }
}

/// What was said of a client in front of this proxy is said to the broker behind it.
#[test]
fn from_header_to_header() {
    let (broker, seen) = reading();
    let config = Config::of([&broker]).listener("accept_proxy_protocol: { from: [127.0.0.1] }");
    let of_tls = [
        tlv(0x01, b"mqtt"),
        tlv(0x02, b"mqtt.example"),
        ssl("TLSv1.3", "device-7", "TLS_AES_128_GCM_SHA256"),
    ];
    let [alpn, authority, ssl] = &of_tls;
    let (v4, v6) = ("192.0.2.1:56324", "[2001:db8::1]:56324");
    let received = [
        // In another order, with other TLVs, and an ID that is not this proxy's.
        v2(v4, DESTINATION, &[ssl, &tlv(0xEE, b"x")[..], authority, &tlv(5, b"?"), alpn].concat()),
        v2(v6, "[2001:db8::2]:8883", b""),
        v1(v4, DESTINATION),
    ];
    let sent = |of_tls: &[Vec<u8>], from: &str, to: &str, session: &[u8]| {
        let [alpn, authority, ssl] = of_tls else {
            return with_checksum(v2(from, to, &tlv(0x05, session)));
        };
        let tlvs = [alpn, authority, &tlv(0x05, session)[..], ssl].concat();
        with_checksum(v2(from, to, &tlvs))
    };

    let proxy = config.clone().pool("send_proxy_protocol: v2").start();
    for (n, header) in received.iter().enumerate() {
        let id = format!("from-{n}");
        let opening = [header.as_slice(), &connect(4, &id)].concat();
        let _client = Client::exchange(proxy.address(), &opening, CONNACK_V3);
        let session = session_id(&proxy, &id);
        let wanted = match n {
            0 => sent(&of_tls, v4, DESTINATION, &session),
            1 => sent(&[], v6, "[2001:db8::2]:8883", &session),
            _ => sent(&[], v4, DESTINATION, &session),
        };
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (wanted, connect(4, &id)), "{id}");
    }
    drop(proxy);

    let proxy = config.pool("send_proxy_protocol: v1").start();
    for header in &received {
        let opening = [header.as_slice(), &connect(4, "text")].concat();
        let _client = Client::exchange(proxy.address(), &opening, CONNACK_V3);
        let (header, _) = seen.recv_timeout(PATIENCE).unwrap();
        assert!(header == v1(v4, DESTINATION) || header == v1(v6, "[2001:db8::2]:8883"));
    }
    // A check's connection is passed on as the balancer's.
    let opening = [raw_v2(0x20, 0, b""), connect(4, "check")].concat();
    let client = Client::exchange(proxy.address(), &opening, CONNACK_V3);
    let (header, _) = seen.recv_timeout(PATIENCE).unwrap();
    let from = client.stream.local_addr().unwrap().to_string();
    assert_eq!(header, v1(&from, &proxy.address().to_string()));
}

/// A certificate that was not verified makes no name, and an unverified one is said to be so.
#[test]
fn names_that_nobody_vouched_for_are_not_passed_on() {
    let (broker, seen) = reading();
    let config = Config::of([&broker]).listener("accept_proxy_protocol: { from: [127.0.0.1] }");
    let proxy = config.pool("send_proxy_protocol: v2").start();
    let version = tlv(0x21, b"TLSv1.2");
    let name = tlv(0x22, b"admin");
    for (id, fixed) in [("unverified", [7, 0, 0, 0, 1]), ("not-shown", [1, 0, 0, 0, 0])] {
        let ssl = tlv(0x20, &[&fixed[..], &version, &name].concat());
        let header = v2("192.0.2.1:56324", DESTINATION, &ssl);
        let opening = [header, connect(4, id)].concat();
        let _client = Client::exchange(proxy.address(), &opening, CONNACK_V3);
        let unique_id = tlv(0x05, &session_id(&proxy, id));
        let ssl = tlv(0x20, &[&[1, 0, 0, 0, 1][..], &version].concat());
        let wanted = v2("192.0.2.1:56324", DESTINATION, &[unique_id, ssl].concat());
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap().0, with_checksum(wanted), "{id}");
    }
}

#[test]
fn clients_without_an_address() {
    let (broker, seen) = reading();
    for version in ["v1", "v2"] {
        let config = Config::of([&broker]).bind("unix:mqtt.sock");
        let proxy = config.pool(&format!("send_proxy_protocol: {version}")).start();
        let mut client = UnixStream::connect(proxy.path("mqtt.sock")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&connect(4, "local")).unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, CONNACK_V3);
        let wanted = match version {
            "v1" => b"PROXY UNKNOWN\r\n".to_vec(),
            _ => with_checksum(raw_v2(0x21, 0x00, &tlv(5, &session_id(&proxy, "local")))),
        };
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (wanted, connect(4, "local")));
    }
}

/// Each broker that is asked is told, and each the same.
#[test]
fn every_try_has_a_header() {
    let (tell, seen) = mpsc::channel();
    let refusing = || {
        let tell = tell.clone();
        Broker::start(move |mut link| {
            let Some(header) = read_header(&mut link) else { return };
            let Some(connect) = link.read_packet() else { return };
            let _ = tell.send((header, connect));
            link.send(&connack(5, 0x88));
        })
    };
    let brokers = [refusing(), refusing(), refusing()];
    let proxy = Config::of(&brokers).pool("send_proxy_protocol: v2").start();
    let mut client = Client::exchange(proxy.address(), &connect(5, "c"), &connack(5, 0x88));
    let from = client.stream.local_addr().unwrap().to_string();
    client.expect_end();
    drop(client);
    let line = proxy.wait_end("c");
    assert_eq!(line["tries"], 3);
    let unique_id = tlv(0x05, line["session"].as_str().unwrap().as_bytes());
    let header = with_checksum(v2(&from, &proxy.address().to_string(), &unique_id));
    for _ in 0..3 {
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (header.clone(), connect(5, "c")));
    }
}

/// A check is the proxy's own connection, and names it; over HTTP, at another port, it says nothing.
#[test]
fn health_checks() {
    for version in ["v1", "v2", "none"] {
        for kind in ["tcp", "mqtt", "http"] {
            let (tell, seen) = mpsc::channel();
            let is_http = kind == "http";
            let broker = Broker::start(move |mut link| {
                let peer = link.stream.peer_addr().unwrap();
                let mut all = Vec::new();
                let mut buffer = [0; 1024];
                while let Ok(n @ 1..) = link.stream.read(&mut buffer) {
                    all.extend(&buffer[..n]);
                    if is_http && all.ends_with(b"\r\n\r\n") {
                        link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                        break;
                    }
                    if !is_http && all.windows(4).any(|window| window == b"MQTT") {
                        link.send(CONNACK_V3);
                    }
                }
                let _ = tell.send((peer, all));
            });
            let at = broker.address.to_string();
            let check = if is_http {
                patient(&format!("http, port: {}", broker.address.port()))
            } else {
                patient(kind)
            };
            let config = Config::of([&broker]).pool(&check);
            let proxy = config.pool(&format!("send_proxy_protocol: {version}")).start();
            wait_for("good checks", || {
                (proxy.metric(CHECKS, &["outcome=\"ok\""]) > 1.5).then_some(())
            });
            let (peer, seen) = seen.recv_timeout(PATIENCE).unwrap();
            let header = match version {
                "v1" => v1(&peer.to_string(), &at),
                "v2" => with_checksum(v2(&peer.to_string(), &at, b"")),
                _ => Vec::new(),
            };
            match kind {
                "tcp" => assert_eq!(seen, header, "{version}"),
                "mqtt" => {
                    let rest = seen.strip_prefix(&header[..]).expect(version);
                    let connect = rest.strip_suffix(DISCONNECT).expect(version);
                    assert!(client_id(connect).starts_with("mqttlb"), "{version}");
                }
                _ => assert!(seen.starts_with(b"GET / HTTP/1.1\r\n"), "{version}"),
            }
        }
    }
}

/// At a unix socket there is no address to name.
#[test]
fn health_checks_at_a_unix_socket() {
    let local = [SIGNATURE, b"\x20\x00\x00\x00"].concat();
    for (version, header) in [("v1", &b"PROXY UNKNOWN\r\n"[..]), ("v2", &local)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let config = Config::at([format!("unix:{}", path.display())]).pool(&patient("tcp"));
        let _proxy = config.pool(&format!("send_proxy_protocol: {version}")).start();
        let (mut check, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        check.read_to_end(&mut seen).unwrap();
        assert_eq!(seen, header);
    }
}
