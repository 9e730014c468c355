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
        ("PATCH", "/api/v1/pools/none/upstreams/b1", 404, "there are brokers"),
        ("PATCH", "/api/v1/pools/brokers/upstreams/b9", 404, "no broker b9 in pool brokers"),
        ("GET", B1, 405, "PATCH"),
        ("POST", "/api/v1/status", 405, "GET, HEAD"),
        ("DELETE", "/api/v1/sessions", 405, "GET, HEAD"),
        ("GET", "/api/v1/sessions/0000000000000000", 405, "DELETE"),
        ("GET", "/api/v1/reload", 405, "POST"),
        ("POST", "/api/v1/reload?force=1", 400, "\"force\" is an unknown parameter"),
        ("GET", "/api/v1/status?x", 400, "\"x\" is an unknown parameter"),
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
        ("[]", "the body is no object"),
        (r#"{ "state": "gone" }"#, "`state` is \"gone\"; allowed: ready, drain, down"),
        (r#"{ "state": null }"#, "`state` is null"),
        (r#"{ "weight": 0 }"#, "`weight` is 0; allowed: a whole number from 1 to 65535"),
        (r#"{ "weight": 1e9 }"#, "`weight` is 1000000000.0"),
        (r#"{ "weight": 3, "colour": 1 }"#, "\"colour\" is unknown"),
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

#[test]
fn what_is_no_http() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(2000));
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(70_000));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        many.as_bytes(),
        long.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(proxy.admin()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{:?}: {answer}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(ask(&proxy, "GET", "/livez", "", "").status, 200);
}
