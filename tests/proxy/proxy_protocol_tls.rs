//! PROXY headers before TLS, which is where they stand: from balancers that pass TLS on, and to
//! brokers that speak it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use rustls::{ClientConnection, ServerConnection, StreamOwned, pki_types::ServerName};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{PATIENCE, Proxy, end},
    pki::{Ca, Leaf},
    proxy_header::{DESTINATION, raw_v2, ssl, tlv, v1, v2, with_checksum},
    proxy_protocol_in::stranger,
    proxy_protocol_out::{read_header, reading, session_id},
    tls_client::{Pki, TlsClient, Trust},
};

const CLIENT: &str = "192.0.2.1:56324";
const FROM: &str = "accept_proxy_protocol: { from: [127.0.0.1] }";

/// A client whose header, or other first bytes, go with its ClientHello in one segment.
fn open(socket: TcpStream, trust: &Trust, first: &[u8]) -> TlsClient {
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(trust.config(), name).unwrap();
    let mut sent = first.to_vec();
    while connection.wants_write() {
        connection.write_tls(&mut sent).unwrap();
    }
    let mut socket = Client::on(socket).stream;
    socket.write_all(&sent).unwrap();
    TlsClient { stream: StreamOwned::new(connection, socket) }
}

fn connected(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).unwrap()
}

/// A certificate of this host, and an authority of clients.
fn mutual(pki: &Pki) -> (Ca, String) {
    let of_clients = Ca::new("CA of clients");
    pki.write("clients.pem", &of_clients.pem());
    let more =
        format!(", client_auth: optional, alpn: [mqtt]{}", pki.file("client_ca", "clients.pem"));
    (of_clients, pki.tls(&more))
}

/// What TLS says here counts for more than what the header says of it.
#[test]
fn a_header_before_tls() {
    let pki = Pki::new();
    let (of_clients, tls) = mutual(&pki);
    let (broker, seen) = reading();
    let config = Config::of([&broker]).listener(FROM).listener(&tls);
    let proxy = config.pool("send_proxy_protocol: v2").start();
    let of_balancer = tlv(0x02, b"other.example");
    let device = of_clients.issue(&Leaf::new("device-7", &[]));
    for (id, header, trust) in [
        ("text", v1(CLIENT, DESTINATION), pki.client()),
        ("binary", v2(CLIENT, DESTINATION, &of_balancer), pki.client().alpn("mqtt")),
        ("named", v1(CLIENT, DESTINATION), pki.client().alpn("mqtt").with(&device)),
    ] {
        let mut client = open(connected(proxy.address()), &trust, &header).session(id);
        client.echo(b"\xC0\x00");
        let line = proxy.wait_connected(id);
        let peer = client.stream.sock.local_addr().unwrap().to_string();
        assert_eq!((&line["client"], &line["peer"]), (&CLIENT.into(), &peer.into()), "{id}");
        let is_named = id == "named";
        assert_eq!(line["tls_cn"].as_str(), is_named.then_some("device-7"), "{id}");
        assert_eq!((&line["transport"], &line["sni"]), (&"tls".into(), &"localhost".into()));

        let cipher = line["tls_cipher"].as_str().unwrap();
        let of_tls = if is_named {
            ssl("TLSv1.3", "device-7", cipher)
        } else {
            let version_and_cipher = [tlv(0x21, b"TLSv1.3"), tlv(0x23, cipher.as_bytes())];
            tlv(0x20, &[&[1, 0, 0, 0, 1][..], &version_and_cipher.concat()].concat())
        };
        let alpn = if id == "text" { Vec::new() } else { tlv(0x01, b"mqtt") };
        let unique_id = tlv(0x05, &session_id(&proxy, id));
        let said = [alpn, tlv(0x02, b"localhost"), unique_id, of_tls].concat();
        let wanted = with_checksum(v2(CLIENT, DESTINATION, &said));
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (wanted, connect(4, id)), "{id}");
    }
}

/// The header alone, then each byte of the handshake's first flight on its own.
#[test]
fn a_header_and_tls_in_pieces() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(FROM).listener(&pki.tls("")).start();
    let mut client = pki.client().open(proxy.address());
    for byte in v2(CLIENT, DESTINATION, b"") {
        client.stream.sock.write_all(&[byte]).unwrap();
    }
    let mut hello = Vec::new();
    client.stream.conn.write_tls(&mut hello).unwrap();
    for byte in hello {
        client.stream.sock.write_all(&[byte]).unwrap();
    }
    client.session("c").echo(b"\xC0\x00");
    assert_eq!(proxy.wait_connected("c")["client"], CLIENT);
}

#[test]
fn strangers_and_the_unnamed() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(FROM).listener(&pki.tls("")).start();
    let socket = || stranger(proxy.address()).stream;
    open(socket(), &pki.client(), b"").session("stranger").echo(b"\xC0\x00");
    let line = proxy.wait_end("stranger");
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.2:"));
    assert_eq!(line["peer"], serde_json::Value::Null);

    let refused = |mut client: TlsClient, count: usize, said: &str| {
        let _ = client.stream.sock.read_to_end(&mut Vec::new());
        let line = proxy.wait_ends(count).remove(count - 1);
        assert_eq!(end(&line), "proxy/handshake/malformed");
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail}");
    };
    let untrusted = "a PROXY header from a peer that is not within accept_proxy_protocol.from";
    refused(open(socket(), &pki.client(), &v1(CLIENT, DESTINATION)), 2, untrusted);
    refused(open(socket(), &pki.client(), &raw_v2(0x20, 0, b"")), 3, untrusted);
    let missing = "no PROXY header (first byte 0x16) from a peer within";
    refused(open(connected(proxy.address()), &pki.client(), b""), 4, missing);
    assert_eq!(broker.connections(), 1);
}

/// A broker that is reached by TLS reads the header first, and so do its checks' connections begin.
#[test]
fn a_header_before_tls_to_a_broker() {
    let pki = Pki::new();
    let config = Pki::server(&pki.issue("broker"), None);
    let (tell, seen) = std::sync::mpsc::channel();
    let broker = Broker::start(move |mut link| {
        link.patient();
        let Some(header) = read_header(&mut link) else { return };
        let peer = link.stream.peer_addr().unwrap();
        let connection = ServerConnection::new(config.clone()).unwrap();
        let mut tls = StreamOwned::new(connection, link.stream);
        let mut head = [0; 14];
        if tls.read_exact(&mut head).is_ok() {
            let _ = tls.write_all(CONNACK_V3);
            let _ = tls.flush();
            let _ = tell.send((header, peer.to_string(), head[1]));
        }
        let _ = tls.read_to_end(&mut Vec::new());
    });
    let to_brokers = format!("tls: {{ ca: \"{}/ca.pem\" }}", pki.path().display());
    let config = Config::of([&broker]).pool(&to_brokers).pool("send_proxy_protocol: v2");

    let proxy = config.clone().start();
    let client = Client::session(proxy.address(), "c");
    let from = client.stream.local_addr().unwrap().to_string();
    let (header, _, len) = seen.recv_timeout(PATIENCE).unwrap();
    let unique_id = tlv(0x05, &session_id(&proxy, "c"));
    let wanted = with_checksum(v2(&from, &proxy.address().to_string(), &unique_id));
    assert_eq!((header, usize::from(len)), (wanted, connect(4, "c").len() - 2));
    drop(proxy);

    let checked = config.pool("health: { active: { type: mqtt, interval: 100ms } }");
    let proxy: Proxy = checked.start();
    let (header, from, _) = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(header, with_checksum(v2(&from, &broker.address.to_string(), b"")));
    proxy.wait_metric("mqtt_lb_health_checks_total", &["\"failed\""], 0.0);
}
