//! What nobody should send, and somebody will.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::http::{ask, exchange, patch, told};
use crate::{broker::Broker, config::Config, harness::PATIENCE};

const B1: &str = "/api/v1/pools/brokers/upstreams/b1";

#[test]
fn unknown_names_and_methods() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    for (method, target, status, says) in [
        ("GET", "/api/v1/nothing", 404, "/api/v1/openapi.json"),
        ("GET", "/api/v2/status", 404, "/api/v2/status"),
        ("GET", "/api/v1/status/", 404, "openapi.json"),
        ("GET", "//api/v1/status", 404, "openapi.json"),
        ("PATCH", "/api/v1/pools/none/upstreams/b1", 404, "the configuration has brokers"),
        ("PATCH", "/api/v1/pools/brokers/upstreams/b9", 404, "no broker b9 in pool brokers"),
        ("GET", B1, 405, "PATCH"),
        ("POST", "/api/v1/status", 405, "GET, HEAD"),
        ("DELETE", "/api/v1/sessions", 405, "GET, HEAD"),
        ("GET", "/api/v1/sessions/0000000000000000", 405, "DELETE"),
        ("GET", "/api/v1/reload", 405, "POST"),
        ("POST", "/api/v1/reload?force=1", 400, "unknown parameter \"force\""),
        ("GET", "/api/v1/status?x", 400, "unknown parameter \"x\""),
        ("GET", "/api/v1/log?after=-1", 400, "from 0"),
    ] {
        let told = ask(&proxy, method, target, "Content-Type: application/json\r\n", "");
        assert_eq!(told.status, status, "{method} {target}: {told:?}");
        if status == 405 {
            assert_eq!(told.header("allow"), Some(says), "{method} {target}");
        }
        let error = told.error();
        assert!(error.contains(says), "{method} {target}: {error}");
    }
}

#[test]
fn bodies() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    for (body, says) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("nonsense", "not JSON"),
        ("{}", "the body is empty"),
        ("[]", "the body is not an object"),
        (r#"{ "state": "gone" }"#, "invalid `state` \"gone\"; allowed: ready, drain, down"),
        (r#"{ "state": null }"#, "invalid `state` null"),
        (r#"{ "weight": 0 }"#, "invalid `weight` 0; allowed: a whole number from 1 to 65535"),
        (r#"{ "weight": 1e9 }"#, "invalid `weight` 1000000000.0"),
        (r#"{ "weight": 3, "colour": 1 }"#, "unknown key \"colour\""),
        (r#"{"state":"ready","state":"down"}"#, "the body has the duplicate key \"state\""),
        (r#"{ "weight": 2, "state": "ready", "weight": 2 }"#, "the duplicate key \"weight\""),
        (r#"{ "w\u0065ight": 2, "weight": 2 }"#, "the duplicate key \"weight\""),
        (r#"{ "colour": { "a": 1, "b": 2, "a": 1 } }"#, "the duplicate key \"a\""),
    ] {
        let told = patch(&proxy, B1, body);
        assert_eq!(told.status, 400, "{body}");
        let error = told.error();
        assert!(error.contains(says), "{body}: {error}");
    }
    // As deep as it gets within the limit.
    let deep = "[".repeat(60_000);
    assert_eq!(patch(&proxy, B1, &deep).status, 400);
    let weight = super::http::get(&proxy, "/api/v1/upstreams");
    assert_eq!(weight["pools"][0]["upstreams"][0]["weight"], 1);

    for media_type in ["", "Content-Type: text/plain\r\n", "Content-Type: application/jsonx\r\n"] {
        let told = ask(&proxy, "PATCH", B1, media_type, r#"{ "weight": 2 }"#);
        assert_eq!(told.status, 415, "{media_type}");
        assert!(told.error().contains("application/json"));
    }
    let media_type = "Content-Type: Application/JSON; charset=utf-8\r\n";
    assert_eq!(ask(&proxy, "PATCH", B1, media_type, r#"{ "weight": 2 }"#).status, 200);

    let huge = format!("{{ \"weight\": 2, \"x\": \"{}\" }}", "x".repeat(64 * 1024));
    let told = patch(&proxy, B1, &huge);
    assert_eq!(told.status, 413);
    assert!(told.error().contains("65536"));
    // It does not have to say how long it is.
    let mut chunked = format!(
        "PATCH {B1} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..20 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.extend_from_slice(&[b' '; 0x1000]);
        chunked.extend_from_slice(b"\r\n");
    }
    assert_eq!(told_status(&exchange(proxy.admin(), &chunked)), 413);
}

fn told_status(answer: &str) -> u16 {
    told(answer).status
}

#[test]
fn requests_that_come_together_are_answered_in_turn() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let one = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(proxy.admin(), format!("{}{last}", one.repeat(50)).as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 50);
    assert_eq!(answer.matches("HTTP/1.1 404 ").count(), 1);
    assert!(answer.rfind("200 OK") < answer.find("404"));
}

/// The status of each answer; 0 where the connection is closed without one.
#[test]
fn malformed_requests() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let head = |lines: &str| format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    let patch = |lines: &str| {
        format!(
            "PATCH {B1} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}"
        )
    };
    for (text, status) in [
        // Another protocol, or another version of this one.
        ("\x16\x03\x01\x02\x00\x01\x00\x01".to_owned(), 400),
        ("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00".to_owned(), 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 0),
        ("GET /livez HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("GET /livez\r\n\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("\r\nGET /livez HTTP/1.0\r\n\r\n".to_owned(), 200),
        // Malformed lines.
        ("GET  /livez HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.1\rHost: localhost\r\r".to_owned(), 400),
        (head("X: a\r\n b\r\n"), 400),
        (head("X : y\r\n"), 400),
        (head("X: a\0b\r\n"), 400),
        (head("X\r\n"), 400),
        // Heads that are too long.
        (head(&"X: y\r\n".repeat(200)), 431),
        (head(&format!("X: {}\r\n", "y".repeat(9000))), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(70_000)), 431),
        // Bodies of no length, or of two.
        (head("Content-Length: x\r\n"), 400),
        (head("Content-Length: -1\r\n"), 400),
        (head("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (head("Transfer-Encoding: gzip\r\n"), 400),
        (patch("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"), 400),
        (patch("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n"), 400),
        (patch("Content-Length: 10\r\n\r\n{"), 400),
        (patch("Content-Length: 99999999999999999999\r\n\r\n{"), 400),
        (patch("Content-Length: 1000000000\r\n\r\n{"), 413),
        // Methods and targets of proxies and of servers as a whole.
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("GET livez HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("TRACE /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 405),
        ("BREW /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 405),
    ] {
        let mut stream = TcpStream::connect(proxy.admin()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(text.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let found = if answer.is_empty() { 0 } else { told_status(&answer) };
        assert_eq!(found, status, "{text:.100}: {answer}");
    }
    assert_eq!(ask(&proxy, "GET", "/livez", "", "").status, 200);
}
