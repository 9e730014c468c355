//! Requests that are not granted: what is answered, and what is recorded.

use std::io::Write;

use super::{
    client::{REQUEST, SWITCHED, WsClient, request_with},
    config,
};
use crate::{
    bad_input::undisturbed,
    broker::Broker,
    client::{Client, connect},
    harness::{end, wait_for},
};

/// What is sent, and the status, the cause and the words that come of it.
type Refused = (Vec<u8>, &'static str, &'static str, &'static str);

fn replaced(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(REQUEST.matches(from).count(), 1, "{from}");
    REQUEST.replace(from, to).into_bytes()
}

/// Lines and targets that are not of HTTP.
fn not_http() -> Vec<Refused> {
    let bad = |bytes, detail| (bytes, "400 Bad Request", "malformed", detail);
    let host = |line: &str| replaced("Host: localhost\r\n", line);
    let bare_lf = "a line of the request ends in LF without CR";
    let no_name = "not an HTTP/1.1 request: invalid header name";
    let no_value = "not an HTTP/1.1 request: invalid header value";
    let no_target = "the request's target is neither a path nor an http URI";
    vec![
        bad(REQUEST.replace("\r\n", "\n").into_bytes(), bare_lf),
        bad(host("Host: localhost\n"), bare_lf),
        bad(host("Host: localhost\r"), no_value),
        bad(host("Host: local\0host\r\n"), no_value),
        bad(host("Host: local\r\n host\r\n"), no_name),
        bad(host("Host : localhost\r\n"), no_name),
        bad(replaced("/mqtt", "*"), no_target),
        bad(replaced("/mqtt", "localhost:8083"), no_target),
        bad(replaced("/mqtt", "ftp://localhost/mqtt"), no_target),
    ]
}

fn refused() -> Vec<Refused> {
    let without = |header: &str| {
        let line = REQUEST.split_inclusive("\r\n").find(|line| line.starts_with(header)).unwrap();
        replaced(line, "")
    };
    let no_upgrade = "the request does not ask for an upgrade to WebSocket";
    let no_version = "the request's WebSocket version is not 13";
    let no_key = "the request does not have one Sec-WebSocket-Key of 16 bytes";
    let no_subprotocol = "the request offers no subprotocol \"mqtt\" or \"mqttv3.1\"";
    let too_long = "the request's head is longer than 8192 bytes";
    vec![
        (
            connect(4, "plain"),
            "400 Bad Request",
            "malformed",
            "an MQTT CONNECT: plain MQTT belongs to a listener without `websocket`",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03".to_vec(),
            "400 Bad Request",
            "malformed",
            "a TLS handshake: TLS belongs to a listener with `tls`",
        ),
        (
            b"hello\r\n".to_vec(),
            "400 Bad Request",
            "malformed",
            "not an HTTP/1.1 request: invalid token",
        ),
        (
            replaced("HTTP/1.1", "HTTP/1.0"),
            "400 Bad Request",
            "malformed",
            "the request is not HTTP/1.1",
        ),
        (
            replaced("GET", "PUT"),
            "405 Method Not Allowed",
            "malformed",
            "the request's method is not GET",
        ),
        (
            replaced("/mqtt", "http://localhost/"),
            "404 Not Found",
            "refused",
            "the request's path is not the listener's",
        ),
        (
            replaced("/mqtt", "/ws"),
            "404 Not Found",
            "refused",
            "the request's path is not the listener's",
        ),
        (
            request_with("Origin: https://evil.example\r\n").into_bytes(),
            "403 Forbidden",
            "refused",
            "the request's Origin is not in `origins`",
        ),
        (without("Upgrade"), "426 Upgrade Required", "malformed", no_upgrade),
        (without("Connection"), "426 Upgrade Required", "malformed", no_upgrade),
        (
            b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "426 Upgrade Required",
            "malformed",
            no_upgrade,
        ),
        (without("Sec-WebSocket-Version"), "426 Upgrade Required", "malformed", no_version),
        (replaced(": 13", ": 7"), "426 Upgrade Required", "malformed", no_version),
        (without("Sec-WebSocket-Key"), "400 Bad Request", "malformed", no_key),
        (without("Sec-WebSocket-Protocol"), "400 Bad Request", "malformed", no_subprotocol),
        (replaced(": mqtt\r", ": amqp\r"), "400 Bad Request", "malformed", no_subprotocol),
        (
            request_with(&format!("Cookie: {}\r\n", "c".repeat(8192))).into_bytes(),
            "431 Request Header Fields Too Large",
            "malformed",
            too_long,
        ),
        (
            // A megabyte of head, and of path, of which no end is waited for.
            format!("GET /mqtt HTTP/1.1\r\nX: {}", "x".repeat(1 << 20)).into_bytes(),
            "431 Request Header Fields Too Large",
            "malformed",
            too_long,
        ),
        (
            format!("GET /{}", "x".repeat(1 << 20)).into_bytes(),
            "431 Request Header Fields Too Large",
            "malformed",
            too_long,
        ),
    ]
}

#[test]
fn each_with_its_answer_and_one_record() {
    let broker = Broker::echoing();
    let config = config([&broker]).another_listener(
        "name: pages, websocket: { path: /mqtt, origins: [\"https://app.example\", \"null\"] }",
    );
    let proxy = config.start();
    let cases = [refused(), not_http()].concat();
    undisturbed(&proxy, || {
        for (sent, status, cause, detail) in &cases {
            let mut client = Client::open(proxy.address_of("pages"));
            let client_address = client.stream.local_addr().unwrap().to_string();
            // Of a megabyte not all is read.
            let _ = client.stream.write_all(sent);
            let headers = match &status[..3] {
                "405" => "Allow: GET\r\nConnection: close\r\n",
                "426" => {
                    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Connection: Upgrade, close\r\n"
                }
                _ => "Connection: close\r\n",
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain\r\nContent-Length: {}\r\n\
                 \r\n{detail}\n",
                detail.len() + 1
            );
            client.expect(answer.as_bytes());
            if sent.len() < 100_000 {
                client.expect_end();
            }
            let line = proxy.wait_log("its reject", |line| {
                line["client"] == *client_address && line["listener"] == "pages"
            });
            assert_eq!(line["event"], "reject");
            assert_eq!(end(&line), format!("proxy/handshake/{cause}"), "{detail}");
            // The path that was asked for is in the log alone.
            let path = match (&status[..3], sent.starts_with(b"GET /ws")) {
                ("404", true) => ": /ws",
                ("404", false) => ": /",
                _ => "",
            };
            assert_eq!(line["detail"], format!("{detail}{path}"));
            assert_eq!(line["transport"], "ws");
        }
    });
    let rejects = proxy.log().iter().filter(|line| line["event"] == "reject").count();
    assert_eq!(rejects, cases.len());
    assert_eq!(proxy.metric("mqtt_lb_rejects_total", &[]) as usize, cases.len());
    // The busy ones, and nobody else.
    assert_eq!(broker.connections(), 4);

    let good = request_with("Origin: https://app.example\r\n");
    Client::exchange(proxy.address_of("pages"), good.as_bytes(), SWITCHED.as_bytes());
}

/// Compression is offered by every browser; it is not taken up.
#[test]
fn compression_is_declined() {
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    let offer =
        request_with("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    let tcp = Client::exchange(proxy.address_of("ws"), offer.as_bytes(), SWITCHED.as_bytes());
    let mut client = WsClient { tcp };
    client.send(&connect(4, "offers"));
    client.expect(crate::client::CONNACK_V3);
    client.echo(b"\xC0\x00");
}

/// Requests, and CONNECTs behind them, that do not come, or not in time, or not to their end.
#[test]
fn what_never_comes() {
    let broker = Broker::echoing();
    let proxy = config([&broker]).more("timeouts: { connect_packet: 1s }").start();
    let expect = |client: &mut Client, wanted: &str, detail: &str| {
        let address = client.stream.local_addr().unwrap().to_string();
        let _ = client.rest();
        let line = proxy.wait_log("its reject", |line| line["client"] == *address);
        assert_eq!((&*end(&line), &line["detail"]), (wanted, &detail.into()));
    };
    let address = proxy.address_of("ws");
    let unfinished = "no complete WebSocket request was sent";
    expect(&mut Client::open(address), "proxy/handshake/timeout", unfinished);
    let mut half = Client::open(address);
    half.send(&REQUEST.as_bytes()[..100]);
    expect(&mut half, "proxy/handshake/timeout", unfinished);
    let mut left = Client::open(address);
    left.send(&REQUEST.as_bytes()[..100]);
    left.finish();
    let said = "incomplete WebSocket request: only 100 bytes were sent";
    expect(&mut left, "client/handshake/closed", said);
    let silent = Client::open(address);
    silent.finish();
    expect(&mut { silent }, "client/handshake/closed", "nothing was sent");
    // A dribble that would take a minute.
    let mut dribble = Client::open(address);
    for byte in REQUEST.as_bytes().iter().cycle() {
        std::thread::sleep(std::time::Duration::from_millis(100));
        if dribble.stream.write_all(&[*byte]).is_err() {
            break;
        }
    }
    expect(&mut dribble, "proxy/handshake/timeout", unfinished);
    let mut upgraded = WsClient::open(address).tcp;
    expect(&mut upgraded, "proxy/connect/timeout", "nothing was sent");
    assert_eq!(proxy.wait_ends(6).len(), 6);
    assert_eq!(broker.connections(), 0);
}

const REQUESTS: usize = 200;

/// Megabytes of requests at once cost no more than their connections.
#[test]
fn requests_without_an_end() {
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    let before = proxy.memory();
    let request = format!("GET /mqtt HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
    undisturbed(&proxy, || {
        let clients: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let client = Client::open(proxy.address_of("ws"));
                client.stream.set_nonblocking(true).unwrap();
                let _ = (&client.stream).write(request.as_bytes());
                client
            })
            .collect();
        wait_for("all of them to be refused", || {
            let refused = proxy.metric("mqtt_lb_rejects_total", &["reason=\"malformed\""]);
            (refused as usize == REQUESTS).then_some(())
        });
        let grown = proxy.memory().saturating_sub(before) / REQUESTS as u64;
        assert!(grown < 32 * 1024, "{grown} bytes each");
        drop(clients);
    });
}
