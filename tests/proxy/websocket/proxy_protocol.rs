//! PROXY headers before WebSocket, and what brokers are then told.

use serde_json::Value;

use super::client::{REQUEST, SWITCHED, WsClient, binary, request_with};
use crate::{
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{PATIENCE, end},
    proxy_header::{DESTINATION, v1},
    proxy_protocol_in::stranger,
    proxy_protocol_out::reading,
};

const CLIENT: &str = "192.0.2.1:56324";

/// Header, request and CONNECT in one segment.
#[test]
fn a_header_before_the_request() {
    let (broker, seen) = reading();
    let config = Config::of([&broker]).pool("send_proxy_protocol: v1");
    let from = "accept_proxy_protocol: { from: [127.0.0.1] }";
    let forwarded = "websocket: { forwarded_for: [192.0.2.0/24] }";
    let proxy = config.another_listener(&format!("name: ws, {from}, {forwarded}")).start();
    let address = proxy.address_of("ws");
    let by_balancer = request_with("X-Forwarded-For: 2001:db8::7\r\n");
    for (id, header, request, client, told) in [
        ("named", v1(CLIENT, DESTINATION), REQUEST, CLIENT, v1(CLIENT, DESTINATION)),
        // An HTTP proxy behind the balancer, whose word is believed, of a client of another family.
        (
            "forwarded",
            v1(CLIENT, DESTINATION),
            &by_balancer,
            "[2001:db8::7]:0",
            b"PROXY TCP6 2001:db8::7 ::ffff:198.51.100.2 0 8883\r\n".to_vec(),
        ),
    ] {
        let first = [&header[..], request.as_bytes(), &binary(&connect(4, id))].concat();
        let tcp = Client::exchange(address, &first, SWITCHED.as_bytes());
        let peer = tcp.stream.local_addr().unwrap().to_string();
        let mut ws = WsClient { tcp };
        ws.expect(CONNACK_V3);
        ws.echo(b"\xC0\x00");
        let line = proxy.wait_connected(id);
        assert_eq!(line["client"], client);
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (told, connect(4, id)), "{id}");
        if id == "named" {
            assert_eq!((&line["transport"], &line["peer"]), (&"ws".into(), &peer.into()));
        }
    }

    // Without the header that its peer has to send, and from one that has to send none.
    let mut unnamed = Client::exchange(address, REQUEST.as_bytes(), b"");
    let _ = unnamed.rest();
    let line = proxy.wait_log("its reject", |line| line["event"] == "reject");
    assert_eq!(end(&line), "proxy/handshake/malformed");
    assert!(line["detail"].as_str().unwrap().starts_with("no PROXY header (first byte 0x47)"));
    let mut honest = stranger(address);
    honest.send(REQUEST.as_bytes());
    honest.expect(SWITCHED.as_bytes());
    let mut ws = WsClient { tcp: honest };
    ws.send(&connect(4, "honest"));
    ws.expect(CONNACK_V3);
    assert_eq!(proxy.wait_connected("honest")["peer"], Value::Null);
}

/// Refused as no request, with a word on what it was.
#[test]
fn a_header_that_nobody_asked_for() {
    let (broker, _seen) = reading();
    let proxy = super::config([&broker]).start();
    let sent = [&v1(CLIENT, DESTINATION)[..], REQUEST.as_bytes()].concat();
    let mut client = Client::open(proxy.address_of("ws"));
    client.send(&sent);
    let (answer, _) = client.rest();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", answer.escape_ascii());
    let line = proxy.wait_ends(1).remove(0);
    assert_eq!(end(&line), "proxy/handshake/malformed");
    assert!(line["detail"].as_str().unwrap().starts_with("a PROXY header, but this listener"));
}
