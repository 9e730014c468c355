//! Who the client is where a proxy in front says so.

use serde_json::{Value, json};

use super::client::{REQUEST, SWITCHED, WsClient, request_with};
use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::Proxy,
};

/// A session by this request; the peer's address, and the log's line of it.
fn visit(proxy: &Proxy, listener: &str, request: &str, id: &str) -> (String, Value) {
    let tcp = Client::exchange(proxy.address_of(listener), request.as_bytes(), SWITCHED.as_bytes());
    let peer = tcp.stream.local_addr().unwrap().to_string();
    let mut client = WsClient { tcp };
    client.send(&connect(4, id));
    client.expect(CONNACK_V3);
    (peer, proxy.wait_connected(id))
}

#[test]
fn the_client_by_the_word_of_a_trusted_peer() {
    let broker = Broker::echoing();
    let trusting = "websocket: { forwarded_for: [127.0.0.0/8, 10.0.0.0/8] }";
    let proxy = Config::of([&broker])
        .another_listener(&format!("name: trusting, {trusting}"))
        .another_listener("name: wary, websocket: { forwarded_for: [10.0.0.0/8] }")
        .another_listener("name: ws, websocket: {}")
        .start();
    for (n, (header, client)) in [
        ("X-Forwarded-For: 192.0.2.7\r\n", Some("192.0.2.7:0")),
        ("X-Forwarded-For: 198.51.100.1, 192.0.2.7:4711, 10.9.9.9\r\n", Some("192.0.2.7:4711")),
        (
            "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: [2001:db8::7]\r\n",
            Some("[2001:db8::7]:0"),
        ),
        ("X-Forwarded-For: ${jndi:ldap}\r\n", None),
        ("", None),
    ]
    .into_iter()
    .enumerate()
    {
        let request = request_with(header);
        let (peer, line) = visit(&proxy, "trusting", &request, &format!("trusting-{n}"));
        match client {
            Some(client) => {
                assert_eq!((&line["client"], &line["peer"]), (&json!(client), &json!(peer)));
            }
            None => assert_eq!((&line["client"], &line["peer"]), (&json!(peer), &Value::Null)),
        }
        for listener in ["wary", "ws"] {
            let (peer, line) = visit(&proxy, listener, &request, &format!("{listener}-{n}"));
            assert_eq!((&line["client"], &line["peer"]), (&json!(peer), &Value::Null));
        }
    }
}

/// The address that is logged is the one that is hashed and counted.
#[test]
fn routes_and_limits_go_by_the_client() {
    let brokers = [Broker::echoing(), Broker::echoing(), Broker::echoing()];
    let proxy = Config::of(&brokers)
        .another_listener("name: ws, websocket: { forwarded_for: [127.0.0.1] }")
        .pool("balance: { key: source_ip }")
        .more("limits: { max_connections_per_ip: 2 }")
        .start();
    let mut used = std::collections::HashSet::new();
    for n in 1..20 {
        let request = request_with(&format!("X-Forwarded-For: 192.0.2.{n}\r\n"));
        let upstreams = ["a", "b"].map(|id| {
            let (_, line) = visit(&proxy, "ws", &request, &format!("{id}-{n}"));
            line["upstream"].to_string()
        });
        assert_eq!(upstreams[0], upstreams[1]);
        used.insert(upstreams[0].clone());
    }
    assert_eq!(used.len(), 3);

    let request = request_with("X-Forwarded-For: 203.0.113.1\r\n");
    let open = |request: &str| {
        let address = proxy.address_of("ws");
        let tcp = Client::exchange(address, request.as_bytes(), SWITCHED.as_bytes());
        WsClient { tcp }
    };
    let mut held = [open(&request), open(&request)];
    let mut third = open(&request);
    third.send(&connect(5, "third"));
    third.expect(b"\x20\x03\x00\x97\x00");
    third.expect_close(1000);
    let line = proxy.wait_end("third");
    assert_eq!((&line["client"], &line["end_cause"]), (&json!("203.0.113.1:0"), &json!("limit")));
    held[0].send(&connect(4, "held"));
    held[0].expect(CONNACK_V3);
    // Another client behind the same proxy is another client.
    let mut other = open(REQUEST);
    other.send(&connect(4, "other"));
    other.expect(CONNACK_V3);
}

/// A PROXY header says who the HTTP proxy is, and that one who the client is.
#[test]
fn behind_a_proxy_header() {
    let broker = Broker::echoing();
    let keys = "accept_proxy_protocol: { from: [127.0.0.1] }, \
                websocket: { forwarded_for: [192.0.2.0/24] }";
    let proxy = Config::of([&broker]).another_listener(&format!("name: ws, {keys}")).start();
    for (n, (from, client)) in
        [("192.0.2.9", "203.0.113.7:0"), ("198.51.100.9", "198.51.100.9:5000")].iter().enumerate()
    {
        let header = format!("PROXY TCP4 {from} 127.0.0.1 5000 8083\r\n");
        let request = header + &request_with("X-Forwarded-For: 203.0.113.7\r\n");
        let (peer, line) = visit(&proxy, "ws", &request, &format!("c-{n}"));
        assert_eq!((&line["client"], &line["peer"]), (&json!(client), &json!(peer)));
    }
}
