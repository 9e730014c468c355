//! MQTT and WebSocket on one port, told apart by a client's first byte.

use std::{fs, io::Write, net::SocketAddr};

use rustix::process::Signal;

use serde_json::Value;

use crate::{
    admin::http::get,
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, end, wait_for},
    proxy_header::{DESTINATION, v1, v2},
    tls_client::{Pki, TlsClient, Trust},
    websocket::client::{REQUEST, SWITCHED, WsClient, binary},
};

const BOTH: &str = "protocols: [mqtt, websocket]";
const FROM: &str = "accept_proxy_protocol: { from: [127.0.0.1] }";
const CLIENT: &str = "192.0.2.1:56324";

/// What a client sends and reads before its session has begun.
fn exchange(over_websocket: bool, id: &str) -> (Vec<u8>, Vec<u8>) {
    if over_websocket {
        let sent = [REQUEST.as_bytes(), &binary(&connect(4, id))].concat();
        (sent, [SWITCHED.as_bytes(), &[0x82, CONNACK_V3.len() as u8], CONNACK_V3].concat())
    } else {
        (connect(4, id), CONNACK_V3.to_vec())
    }
}

#[track_caller]
fn assert_transport(proxy: &Proxy, id: &str, transport: &str) {
    let line = proxy.wait_connected(id);
    assert_eq!(line["transport"], transport, "{id}");
    let path = if transport.starts_with("ws") { "/mqtt".into() } else { Value::Null };
    assert_eq!(line["path"], path, "{id}");
    let sessions = get(proxy, &format!("/api/v1/sessions?client_id={id}"));
    assert_eq!(sessions["sessions"][0]["transport"], transport, "{id}");
}

/// Both protocols, in one segment and cut at each byte of the first ones.
#[test]
fn both_on_tcp() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(BOTH).start();
    for (over_websocket, transport) in [(false, "tcp"), (true, "ws")] {
        for cut in 0..6 {
            let id = format!("{transport}-{cut}");
            let (sent, answer) = exchange(over_websocket, &id);
            let (first, rest) = sent.split_at(cut);
            let mut client = Client::open(proxy.address());
            client.send(first);
            client.send(rest);
            client.expect(&answer);
            assert_transport(&proxy, &id, transport);
        }
    }
    let status = get(&proxy, "/api/v1/status");
    let listener = &status["listeners"][0];
    assert_eq!(listener["transport"], "tcp");
    assert_eq!(listener["transports"], serde_json::json!(["tcp", "ws"]));
}

/// Sent byte by byte.
#[test]
fn byte_by_byte() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(BOTH).listener(FROM).start();
    for over_websocket in [false, true] {
        let id = format!("bytes-{over_websocket}");
        let (sent, answer) = exchange(over_websocket, &id);
        let mut client = Client::open(proxy.address());
        for byte in [v1(CLIENT, DESTINATION), sent].concat() {
            client.send(&[byte]);
        }
        client.expect(&answer);
        assert_eq!(proxy.wait_connected(&id)["client"], CLIENT);
    }
}

/// A PROXY header, and behind it TLS or not, and behind that either protocol; all in one segment.
#[test]
fn behind_a_header_and_tls() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let tls = pki.tls("");
    let proxy = Config::of([&broker])
        .listener(BOTH)
        .listener(FROM)
        .another_listener(&format!("name: both-tls, {BOTH}, {FROM}, {tls}"))
        .another_listener(&format!("name: no-header, {BOTH}, {tls}"))
        .start();
    for over_websocket in [false, true] {
        for (version, header) in
            [("v1", v1(CLIENT, DESTINATION)), ("v2", v2(CLIENT, DESTINATION, b""))]
        {
            let id = format!("plain-{version}-{over_websocket}");
            let (sent, answer) = exchange(over_websocket, &id);
            Client::exchange(proxy.address(), &[header.clone(), sent].concat(), &answer);
            let line = proxy.wait_connected(&id);
            let transport = if over_websocket { "ws" } else { "tcp" };
            assert_eq!((&line["transport"], &line["client"]), (&transport.into(), &CLIENT.into()));

            let id = format!("tls-{version}-{over_websocket}");
            let (sent, answer) = exchange(over_websocket, &id);
            let mut client = over_tls(proxy.address_of("both-tls"), &pki.client(), &header);
            client.send(&sent);
            client.expect(&answer);
            let line = proxy.wait_connected(&id);
            let transport = if over_websocket { "wss" } else { "tls" };
            assert_eq!((&line["transport"], &line["client"]), (&transport.into(), &CLIENT.into()));
        }
        let id = format!("direct-{over_websocket}");
        let (sent, answer) = exchange(over_websocket, &id);
        let mut client = pki.client().open(proxy.address_of("no-header"));
        for byte in sent {
            client.send(&[byte]);
        }
        client.expect(&answer);
        assert_transport(&proxy, &id, if over_websocket { "wss" } else { "tls" });
    }
}

/// A TLS client behind a header.
fn over_tls(address: SocketAddr, trust: &Trust, header: &[u8]) -> TlsClient {
    let mut client = trust.open(address);
    client.stream.sock.write_all(header).unwrap();
    client
}

/// Clients that offer a protocol of either kind are served, and those that offer none.
#[test]
fn alpn() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let tls = pki.tls(", alpn: [mqtt, http/1.1]");
    let proxy = Config::of([&broker]).listener(BOTH).listener(&tls).start();
    for over_websocket in [false, true] {
        for (offer, trust) in [
            ("mqtt", pki.client().alpn("mqtt")),
            ("http", pki.client().alpn("http/1.1")),
            ("none", pki.client()),
        ] {
            let id = format!("{offer}-{over_websocket}");
            let (sent, answer) = exchange(over_websocket, &id);
            let mut client = trust.open(proxy.address());
            client.send(&sent);
            client.expect(&answer);
        }
    }
}

/// Clients that speak neither, or nothing, are told apart in the log as well.
#[test]
fn neither() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).listener(BOTH).listener("websocket: { path: /ws }");
    let proxy = config.more("timeouts: { connect_packet: 1s }").start();
    let mut count = 0;
    let mut refused = |sent: &[u8], answer: &str, said: &str, detail: &str, transport: &str| {
        let mut client = Client::open(proxy.address());
        client.send(sent);
        let (read, _) = client.rest();
        assert!(read.starts_with(answer.as_bytes()), "{}", read.escape_ascii());
        count += 1;
        let line = proxy.wait_ends(count).remove(count - 1);
        assert_eq!(end(&line), said, "{line}");
        assert_eq!((&line["detail"], &line["transport"]), (&detail.into(), &transport.into()));
    };
    let not_found = "the request's path is not the listener's: /mqtt";
    refused(REQUEST.as_bytes(), "HTTP/1.1 404 ", "proxy/handshake/refused", not_found, "ws");
    let post = "the request's method is not GET";
    let sent = REQUEST.replace("GET", "POST");
    refused(sent.as_bytes(), "HTTP/1.1 405 ", "proxy/handshake/malformed", post, "ws");
    let hello = "a TLS handshake: TLS belongs to a listener with `tls`";
    refused(b"\x16\x03\x01\x02\x00\x01", "", "proxy/connect/malformed", hello, "tcp");
    let nothing = "nothing was sent";
    refused(b"", "", "proxy/handshake/timeout", nothing, "tcp");
    let part = "incomplete CONNECT: only 1 byte was sent";
    refused(b"\x10", "", "proxy/connect/timeout", part, "tcp");
    let part = "no complete WebSocket request was sent";
    refused(b"G", "", "proxy/handshake/timeout", part, "ws");

    // A client that leaves at once is a check of a balancer, as on other listeners.
    drop(Client::open(proxy.address()));
    proxy.wait_log("a probe", |line| line["event"] == "probe");
}

/// A handshake goes on by the settings of its accept; the next connection has the new ones.
#[test]
fn a_reload_during_a_handshake() {
    let broker = Broker::echoing();
    let with = |protocols: &str| Config::of([&broker]).listener(&format!("protocols: {protocols}"));
    let proxy = with("[mqtt, websocket]").start();
    let halves = [true, false].map(|over_websocket| {
        let id = format!("half-{over_websocket}");
        let (sent, answer) = exchange(over_websocket, &id);
        // One has sent nothing yet, one the beginning of a request, which both wait for the rest.
        let begun = if over_websocket { 10 } else { 0 };
        let mut client = Client::open(proxy.address());
        client.send(&sent[..begun]);
        (client, sent[begun..].to_vec(), answer, id)
    });
    proxy.wait_metric("mqtt_lb_connections_active", &[], 2.0);
    let address = proxy.address();
    let reload = |protocols: &str, transport: &str| {
        fs::write(proxy.config_file(), with(protocols).text()).unwrap();
        proxy.signal(Signal::HUP);
        wait_for("the new settings", || {
            let status = get(&proxy, "/api/v1/status");
            (status["listeners"][0]["transports"] == serde_json::json!([transport])).then_some(())
        });
    };
    reload("[websocket]", "ws");
    // Plain MQTT is now refused.
    let mut refused = Client::open(address);
    refused.send(&connect(4, "late"));
    let (read, _) = refused.rest();
    assert!(read.starts_with(b"HTTP/1.1 400 "), "{}", read.escape_ascii());
    for (mut client, rest, answer, id) in halves {
        client.send(&rest);
        client.expect(&answer);
        let transport = if id.ends_with("true") { "ws" } else { "tcp" };
        assert_transport(&proxy, &id, transport);
    }
    reload("[mqtt]", "tcp");
    let mut refused = Client::open(address);
    refused.send(REQUEST.as_bytes());
    refused.expect_end();
    Client::session(address, "mqtt-again");
}

/// A peer whose X-Forwarded-For would count is checked by its own address if it speaks MQTT itself.
#[test]
fn networks_of_a_trusted_proxy() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .listener(BOTH)
        .listener("websocket: { forwarded_for: [127.0.0.1] }, deny: [127.0.0.0/8]")
        .start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(4, "denied"));
    let _ = client.rest();
    assert_eq!(end(&proxy.wait_ends(1)[0]), "proxy/handshake/denied");
    let forwarded = REQUEST.replace("\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n");
    Client::exchange(proxy.address(), forwarded.as_bytes(), SWITCHED.as_bytes());
    assert_eq!(broker.connections(), 0);
}

/// Pipelined packets and frames arrive behind the CONNECT.
#[test]
fn pipelined() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(BOTH).start();
    let ping = b"\xC0\x00";
    let sent = [&connect(4, "mqtt")[..], ping].concat();
    Client::exchange(proxy.address(), &sent, &[CONNACK_V3, ping].concat());
    let sent = [REQUEST.as_bytes(), &binary(&connect(4, "ws")), &binary(ping)].concat();
    let mut client =
        WsClient { tcp: Client::exchange(proxy.address(), &sent, SWITCHED.as_bytes()) };
    client.expect(&[CONNACK_V3, ping].concat());
}
