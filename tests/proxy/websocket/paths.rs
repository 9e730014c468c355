//! Paths, heads and subprotocols of a listener's requests.

use std::io::Write;

use super::client::{REQUEST, SWITCHED, WsClient, request_with};
use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, end},
};

fn start(broker: &Broker, websocket: &str) -> Proxy {
    Config::of([broker]).listener(&format!("websocket: {{ {websocket} }}")).start()
}

#[test]
fn several_paths_and_prefixes() {
    let broker = Broker::echoing();
    let proxy = start(&broker, "paths: [/mqtt, \"/ws/*\"]");
    for (n, (target, path)) in
        [("/mqtt", "/mqtt"), ("/ws/", "/ws/"), ("/ws/a?token=s3cret", "/ws/a")].iter().enumerate()
    {
        let request = REQUEST.replace("/mqtt", target);
        let tcp = Client::exchange(proxy.address(), request.as_bytes(), SWITCHED.as_bytes());
        let mut client = WsClient { tcp };
        let id = format!("c-{n}");
        client.send(&connect(4, &id));
        client.expect(CONNACK_V3);
        assert_eq!(proxy.wait_connected(&id)["path"], *path);
        drop(client);
        assert_eq!(proxy.wait_end(&id)["path"], *path);
    }
}

/// The record says what was asked for, bounded and without the query; the answer does not.
#[test]
fn a_path_that_is_not_served() {
    let broker = Broker::echoing();
    let proxy = start(&broker, "path: \"/mqtt/*\"");
    let long = format!("/{}", "x".repeat(7000));
    let cut = format!("/{}…", "x".repeat(199));
    for (n, (target, shown)) in [
        ("/mqtt", "/mqtt"),
        ("/a?password=s3cret", "/a"),
        ("/%0a\"<b>", "/%0a\"<b>"),
        (&*long, &*cut),
    ]
    .iter()
    .enumerate()
    {
        let request = REQUEST.replace("/mqtt", target);
        let mut client = Client::open(proxy.address());
        client.send(request.as_bytes());
        let (answer, _) = client.rest();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nthe request's path is not the listener's\n"), "{answer}");
        let line = proxy.wait_ends(n + 1).remove(n);
        assert_eq!(end(&line), "proxy/handshake/refused");
        let detail = format!("the request's path is not the listener's: {shown}");
        assert_eq!((&line["detail"], line.get("path")), (&detail.into(), None));
    }
}

/// A target of 10,000 characters, in a head that may be so long.
#[test]
fn a_long_path_in_a_long_head() {
    let broker = Broker::echoing();
    let proxy = start(&broker, "max_head: 16KiB, path: \"/mqtt/*\"");
    let path = format!("/mqtt/{}", "y".repeat(10_000));
    let request = REQUEST.replace("/mqtt", &path);
    let tcp = Client::exchange(proxy.address(), request.as_bytes(), SWITCHED.as_bytes());
    let mut client = WsClient { tcp };
    client.send(&connect(4, "long"));
    client.expect(CONNACK_V3);
    // As long as any value of the log.
    let logged = proxy.wait_connected("long")["path"].as_str().unwrap().to_owned();
    assert!(logged.starts_with("/mqtt/yyy") && logged.len() < 4200, "{}", logged.len());

    let mut client = Client::open(proxy.address());
    client.send(REQUEST.replace("/mqtt", &format!("/{}", "y".repeat(10_000))).as_bytes());
    let _ = client.rest();
    let line = proxy.wait_log("its reject", |line| line["event"] == "reject");
    assert!(line["detail"].as_str().unwrap().len() < 300, "{line}");
}

/// 9,000 bytes of cookies, as some pages collect, in one piece and in many.
#[test]
fn cookies() {
    let broker = Broker::echoing();
    let proxy = start(&broker, "");
    let wide = start(&broker, "max_head: 16KiB");
    let request = request_with(&format!("Cookie: {}\r\n", "c".repeat(9000)));
    let mut client = Client::open(proxy.address());
    // The proxy may have refused it before all was written.
    let _ = client.stream.write_all(request.as_bytes());
    let (answer, _) = client.rest();
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", answer.escape_ascii());
    let line = proxy.wait_log("its reject", |line| line["event"] == "reject");
    assert_eq!(line["detail"], "the request's head is longer than 8192 bytes");
    for piece in [request.len(), 4096, 100, 1] {
        let mut client = Client::open(wide.address());
        for piece in request.as_bytes().chunks(piece) {
            client.send(piece);
        }
        client.expect(SWITCHED.as_bytes());
    }
    // Beyond 8 KiB it is read when it ends, or is too long.
    let long = request_with(&format!("Cookie: {}\r\n", "c".repeat(16_384)));
    let mut client = Client::open(wide.address());
    for piece in long.as_bytes().chunks(1000) {
        let _ = client.stream.write_all(piece);
    }
    let (answer, _) = client.rest();
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", answer.escape_ascii());
}

#[test]
fn subprotocols() {
    let broker = Broker::echoing();
    let proxy = start(&broker, "subprotocols: [mqttv5, mqtt, none]");
    let offering = |names: &str| {
        let line = "Sec-WebSocket-Protocol: mqtt\r\n";
        let offered = format!("Sec-WebSocket-Protocol: {names}\r\n");
        REQUEST.replace(line, if names.is_empty() { "" } else { &offered })
    };
    for (offered, agreed) in [("mqtt, mqttv5", "mqttv5"), ("mqtt", "mqtt"), ("", "")] {
        let switched = if agreed.is_empty() {
            SWITCHED.replace("Sec-WebSocket-Protocol: mqtt\r\n", "")
        } else {
            SWITCHED.replace("Protocol: mqtt", &format!("Protocol: {agreed}"))
        };
        let sent = offering(offered);
        let tcp = Client::exchange(proxy.address(), sent.as_bytes(), switched.as_bytes());
        let mut client = WsClient { tcp };
        client.send(&connect(4, "c"));
        client.expect(CONNACK_V3);
    }
    let mut client = Client::open(proxy.address());
    client.send(offering("chat").as_bytes());
    let (answer, _) = client.rest();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", answer.escape_ascii());
}
