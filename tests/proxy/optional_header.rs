//! `accept_proxy_protocol.required: false`: peers that come with a PROXY header or without one.

use std::io::Write;

use serde_json::Value;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, end},
    proxy_header::{DESTINATION, SIGNATURE, tlv, v1, v2},
    proxy_protocol_in::stranger,
    tls_client::Pki,
    websocket::client::{REQUEST, SWITCHED, WsClient, binary},
};

const OPTIONAL: &str = "accept_proxy_protocol: { from: [127.0.0.1], required: false }";
const CLIENT: &str = "192.0.2.1:56324";

/// The headers of [`CLIENT`], and none.
fn headers() -> [Vec<u8>; 3] {
    [b"".to_vec(), v1(CLIENT, DESTINATION), v2(CLIENT, DESTINATION, &tlv(0xEA, b"x"))]
}

#[track_caller]
fn assert_client(proxy: &Proxy, id: &str, header: &[u8]) {
    let line = proxy.wait_connected(id);
    let (client, peer) = (line["client"].as_str().unwrap(), &line["peer"]);
    if header.is_empty() {
        assert!(client.starts_with("127.0.0.1:") && *peer == Value::Null, "{line}");
    } else {
        assert!(client == CLIENT && peer.as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    }
}

/// Cut at each byte of the header and of the CONNECT.
#[test]
fn before_mqtt() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(OPTIONAL).start();
    for (n, header) in headers().iter().enumerate() {
        let whole = |id: &str| [&header[..], &connect(4, id)].concat();
        for cut in 0..whole("x").len() {
            let id = format!("{n}-{cut}");
            let bytes = whole(&id);
            let mut client = Client::open(proxy.address());
            client.send(&bytes[..cut]);
            client.send(&bytes[cut..]);
            client.expect(CONNACK_V3);
            assert_client(&proxy, &id, header);
        }
        let id = format!("{n}-bytes");
        let mut client = Client::open(proxy.address());
        for byte in whole(&id) {
            client.send(&[byte]);
        }
        client.expect(CONNACK_V3);
        assert_client(&proxy, &id, header);
    }
}

#[test]
fn before_tls_and_websocket() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .listener(OPTIONAL)
        .another_listener(&format!("name: tls, {OPTIONAL}, {}", pki.tls("")))
        .another_listener(&format!("name: ws, {OPTIONAL}, websocket: {{}}"))
        .start();
    for (n, header) in headers().iter().enumerate() {
        for cut in [0, 1, 5, header.len()].map(|cut| cut.min(header.len())) {
            let (first, rest) = header.split_at(cut);
            let id = format!("tls-{n}-{cut}");
            let mut client = pki.client().open(proxy.address_of("tls"));
            client.stream.sock.write_all(first).unwrap();
            client.stream.sock.write_all(rest).unwrap();
            client.session(&id).echo(b"\xC0\x00");
            assert_client(&proxy, &id, header);

            let id = format!("ws-{n}-{cut}");
            let mut tcp = Client::open(proxy.address_of("ws"));
            tcp.send(first);
            tcp.send(&[rest, REQUEST.as_bytes(), &binary(&connect(4, &id))].concat());
            tcp.expect(SWITCHED.as_bytes());
            WsClient { tcp }.expect(CONNACK_V3);
            assert_client(&proxy, &id, header);
        }
    }
}

/// A request that begins like a header is one of HTTP.
#[test]
fn a_method_that_begins_with_p() {
    let broker = Broker::echoing();
    let listener = format!("name: ws, {OPTIONAL}, websocket: {{}}");
    let proxy = Config::of([&broker]).another_listener(&listener).start();
    let mut client = Client::open(proxy.address_of("ws"));
    for byte in REQUEST.replace("GET", "PUT").bytes() {
        client.send(&[byte]);
    }
    let (answer, _) = client.rest();
    assert!(answer.starts_with(b"HTTP/1.1 405 "), "{}", answer.escape_ascii());
}

/// A part of a header waits for the rest, until the deadline; a bad one is refused; others' are.
#[test]
fn what_is_refused() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).listener(OPTIONAL);
    let proxy = config.more("timeouts: { connect_packet: 1s }").start();
    let mut count = 0;
    let mut refused =
        |mut client: Client, sent: &[u8], finishes: bool, said: &str, detail: &str| {
            client.send(sent);
            if finishes {
                client.finish();
            }
            let _ = client.rest();
            count += 1;
            let line = proxy.wait_ends(count).remove(count - 1);
            assert_eq!((&*end(&line), &line["detail"]), (said, &detail.into()), "{line}");
        };
    let open = || Client::open(proxy.address());
    let part = "nothing was sent, or an incomplete PROXY header";
    for sent in [&b""[..], b"P", b"PROXY", &SIGNATURE[..11], b"PROXY TCP4 192.0.2.1"] {
        refused(open(), sent, false, "proxy/handshake/timeout", part);
    }
    let part = "incomplete PROXY header: only 20 bytes were sent";
    refused(open(), b"PROXY TCP4 192.0.2.1", true, "client/handshake/closed", part);
    let bad = "bad PROXY header: version 1: unknown protocol; allowed: TCP4, TCP6, UNKNOWN";
    refused(open(), b"PROXY TCP5 x\r\n", false, "proxy/handshake/malformed", bad);
    let twice = [v1(CLIENT, DESTINATION), v1(CLIENT, DESTINATION)].concat();
    let again = "a misplaced PROXY header: after another one, or inside TLS";
    refused(open(), &twice, false, "proxy/connect/malformed", again);
    let untrusted = "a PROXY header from a peer that is not within accept_proxy_protocol.from";
    let sent = [v1(CLIENT, DESTINATION), connect(4, "x")].concat();
    refused(stranger(proxy.address()), &sent, false, "proxy/connect/malformed", untrusted);
    refused(open(), b"", true, "client/connect/closed", "nothing was sent");
    assert_eq!(broker.connections(), 0);
}
