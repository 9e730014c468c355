//! Requests and their responses.

use std::sync::Arc;

use tungstenite::{ClientRequestBuilder, handshake::client::generate_request};

use crate::{
    config::{PathPattern, WebSocket},
    proto::websocket::request::{UpgradeRefusal, UpgradeRequest, parse},
};

const MAX_HEAD_BYTES: usize = 8 * 1024;

pub(super) fn rules() -> WebSocket {
    let forwarded_for = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
    WebSocket {
        paths: vec![PathPattern::Exact("/mqtt".into())],
        max_head: MAX_HEAD_BYTES,
        subprotocols: vec!["mqtt".into(), "mqttv3.1".into()],
        without_subprotocol: false,
        ping: None,
        forwarded_for,
        origins: None,
    }
}

/// A valid request with the key of RFC 6455, section 1.3. Each pair replaces the line that begins
/// with its first text; if that is empty, it adds a line.
pub(super) fn with(replaced: &[(&str, &str)]) -> String {
    let lines = [
        "GET /mqtt HTTP/1.1",
        "Host: broker.example",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
    ];
    let mut request = String::new();
    for line in lines {
        let is_meant = |begin: &str| !begin.is_empty() && line.starts_with(begin);
        let line = replaced.iter().find(|(begin, _)| is_meant(begin)).map_or(line, |r| r.1);
        if !line.is_empty() {
            request += line;
            request += "\r\n";
        }
    }
    for (_, added) in replaced.iter().filter(|(begin, _)| begin.is_empty()) {
        request += added;
        request += "\r\n";
    }
    request + "\r\n"
}

pub(super) fn granted(request: &str, rules: &WebSocket) -> UpgradeRequest {
    parse(request.as_bytes(), rules).expect(request).expect(request)
}

/// Status line and detail.
pub(super) fn refused(
    request: impl AsRef<[u8]>,
    rules: &WebSocket,
) -> (u16, String, UpgradeRefusal) {
    let refusal = parse(request.as_ref(), rules).unwrap_err();
    let response = refusal.response();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, format!("{}\n", refusal.detail));
    assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
    assert!(head.contains("\r\nConnection: ") && head.contains("close\r\n"), "{head}");
    (head[9..12].parse().unwrap(), refusal.detail.to_string(), refusal)
}

#[test]
fn the_answer_of_the_rfc() {
    let bytes = with(&[]);
    let request = granted(&format!("{bytes}\x02\x00"), &rules());
    assert_eq!(request.len, bytes.len());
    assert_eq!(
        request.response(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
}

#[test]
fn a_head_in_pieces() {
    let bytes = with(&[]).into_bytes();
    for end in 0..bytes.len() {
        assert_eq!(parse(&bytes[..end], &rules()), Ok(None), "{end}");
    }
    assert!(parse(&bytes, &rules()).unwrap().is_some());
}

#[test]
fn what_is_granted() {
    for replaced in [
        &[("GET", "GET /mqtt?token=x HTTP/1.1")][..],
        &[("GET", "GET http://broker.example/mqtt HTTP/1.1")],
        &[("GET", "GET HTTPS://other.example:443/mqtt?a=/b HTTP/1.1")],
        &[("GET", "GET http://[::1]:8083/mqtt HTTP/1.1")],
        &[("Upgrade", "upgrade: h2c, WebSocket")],
        &[("Connection", "CONNECTION: keep-alive, upgrade")],
        &[("Connection", "Connection: keep-alive\r\nConnection: Upgrade")],
        &[("Sec-WebSocket-Key", "sec-websocket-key:   dGhlIHNhbXBsZSBub25jZQ==  ")],
        &[("Sec-WebSocket-Key", "Sec-WebSocket-Key: +/zzzzzzzzzzzzzzzzzzzz==")],
        &[("", "Origin: https://anywhere.example")],
        &[("", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")],
        &[("", "Content-Length: 0")],
        &[("", "Authorization: Basic eDp5")],
    ] {
        let response = granted(&with(replaced), &rules()).response();
        assert!(!response.contains("Extensions"), "{response}");
    }
    for (offered, chosen) in [
        ("mqtt", "mqtt"),
        ("mqttv3.1", "mqttv3.1"),
        ("mqttv3.1, mqtt", "mqtt"),
        ("chat,mqtt", "mqtt"),
        ("mqttv3.1\r\nSec-WebSocket-Protocol: mqtt", "mqtt"),
    ] {
        let line = format!("Sec-WebSocket-Protocol: {offered}");
        let response = granted(&with(&[("Sec-WebSocket-Protocol", &line)]), &rules()).response();
        assert!(response.contains(&format!("\r\nSec-WebSocket-Protocol: {chosen}\r\n\r\n")));
    }
}

#[test]
fn whom_it_was_forwarded_for() {
    let forwarded = |headers: &str| {
        let request = granted(&with(&[("", headers)]), &rules());
        request.forwarded_for.map(|address| address.to_string())
    };
    let two = "X-Forwarded-For: 198.51.100.1\r\nx-forwarded-for: 192.0.2.1:80, 10.0.0.1";
    assert_eq!(forwarded(two).as_deref(), Some("192.0.2.1:80"));
    assert_eq!(forwarded("X-Forwarded-For: unknown"), None);
    assert_eq!(forwarded("Forwarded: for=192.0.2.1"), None);
}

#[test]
fn origins() {
    let origins: Vec<Arc<str>> = vec!["https://app.example".into(), "http://[::1]:8080".into()];
    let rules = WebSocket { origins: Some(origins), ..rules() };
    granted(&with(&[]), &rules);
    for good in ["Origin: https://app.example", "Origin: HTTP://[::1]:8080"] {
        granted(&with(&[("", good)]), &rules);
    }
    for bad in [
        "Origin: http://app.example",
        "Origin: https://app.example.evil.example",
        "Origin: https://app.example:8443",
        "Origin: null",
        "Origin: ",
        "Origin: https://app.example\r\nOrigin: https://evil.example",
    ] {
        let (status, detail, refusal) = refused(with(&[("", bad)]), &rules);
        assert_eq!((status, &*detail), (403, "the request's Origin is not in `origins`"));
        assert!(refusal.is_forbidden());
    }
}

#[test]
fn what_is_refused() {
    for (replaced, status, said) in [
        (&[("GET", "GET /mqtt HTTP/1.0")][..], 400, "HTTP/1.1"),
        (&[("GET", "POST /mqtt HTTP/1.1")], 405, "not GET"),
        (&[("GET", "CONNECT mqtt:1 HTTP/1.1")], 405, "not GET"),
        (&[("GET", "GET / HTTP/1.1")], 404, "path"),
        (&[("GET", "GET /mqtt/ HTTP/1.1")], 404, "path"),
        (&[("GET", "GET /MQTT HTTP/1.1")], 404, "path"),
        (&[("GET", "GET * HTTP/1.1")], 400, "target"),
        (&[("GET", "GET broker.example:8083 HTTP/1.1")], 400, "target"),
        (&[("GET", "GET mqtt HTTP/1.1")], 400, "target"),
        (&[("GET", "GET http:///mqtt HTTP/1.1")], 400, "target"),
        (&[("GET", "GET ws://broker.example/mqtt HTTP/1.1")], 400, "target"),
        (&[("GET", "GET http://broker.example HTTP/1.1")], 404, "path"),
        (&[("GET", "GET http://broker.example?x=/mqtt HTTP/1.1")], 404, "path"),
        (&[("GET", "GET http://broker.example/mqtt/ HTTP/1.1")], 404, "path"),
        (&[("GET", "GET //broker.example/mqtt HTTP/1.1")], 404, "path"),
        (&[("Upgrade", "")], 426, "upgrade"),
        (&[("Upgrade", "Upgrade: h2c")], 426, "upgrade"),
        (&[("Upgrade", "Upgrade: websockets")], 426, "upgrade"),
        (&[("Connection", "")], 426, "upgrade"),
        (&[("Connection", "Connection: close")], 426, "upgrade"),
        (&[("Sec-WebSocket-Version", "")], 426, "version"),
        (&[("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8")], 426, "version"),
        (&[("", "Sec-WebSocket-Version: 13")], 426, "version"),
        (&[("", "Content-Length: 4")], 400, "body"),
        (&[("", "Transfer-Encoding: chunked")], 400, "body"),
        (&[("Host", "")], 400, "Host"),
        (&[("", "Host: other.example")], 400, "Host"),
        (&[("Sec-WebSocket-Key", "")], 400, "Sec-WebSocket-Key"),
        (&[("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ=")], 400, "Sec-WebSocket-Key"),
        (&[("Sec-WebSocket-Key", "Sec-WebSocket-Key: ????")], 400, "Sec-WebSocket-Key"),
        (
            &[("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBs?SBub25jZQ==")],
            400,
            "Sec-WebSocket-Key",
        ),
        (&[("", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")], 400, "Sec-WebSocket-Key"),
        (&[("Sec-WebSocket-Protocol", "")], 400, "subprotocol"),
        (&[("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: chat")], 400, "subprotocol"),
        (&[("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqtt5")], 400, "subprotocol"),
    ] {
        let request = with(replaced);
        let (found, detail, refusal) = refused(&request, &rules());
        assert_eq!(found, status, "{detail}: {request}");
        assert!(detail.contains(said), "{detail}: {request}");
        assert_eq!(refusal.is_forbidden(), status == 404, "{request}");
        let response = refusal.response();
        let upgrades = response.contains("\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
        assert_eq!(upgrades, status == 426, "{response}");
        assert_eq!(response.contains("\r\nAllow: GET\r\n"), status == 405, "{response}");
    }
}

#[test]
fn what_is_no_http() {
    for (bytes, said) in [
        (
            &b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c"[..],
            "an MQTT CONNECT: plain MQTT belongs to a listener without `websocket`",
        ),
        (b"\x16\x03\x01\x02\x00\x01", "a TLS handshake: TLS belongs to a listener with `tls`"),
        (b"\x00", "not an HTTP/1.1 request"),
        (b"GET /mqtt HTTP/2.0\r\n", "not an HTTP/1.1 request"),
        (b"GET /mqtt\r\n", "not an HTTP/1.1 request"),
        (b"GET /mqtt HTTP/1.1\r\nHost : x\r\n", "not an HTTP/1.1 request"),
        (b"GET /mqtt HTTP/1.1\r\nHost: x\r\n folded\r\n", "not an HTTP/1.1 request"),
        (b"GET /mqtt HTTP/1.1\rHost: x\r\n\r\n", "not an HTTP/1.1 request"),
        (b"GET /mqtt HTTP/1.1\r\nHost: x\ry\r\n\r\n", "not an HTTP/1.1 request"),
        (b"GET /mqtt HTTP/1.1\r\nHost: x\0y\r\n\r\n", "not an HTTP/1.1 request"),
        (b"GET /mqtt HTTP/1.1\nHost: x\n\n", "a line of the request ends in LF without CR"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not an HTTP/1.1 request"),
    ] {
        let (status, detail, _) = refused(bytes, &rules());
        assert_eq!(status, 400, "{detail}");
        assert!(detail.starts_with(said), "{detail}");
    }
}

/// Whichever line it is.
#[test]
fn a_line_that_ends_in_lf_alone() {
    let whole = with(&[]);
    for (at, _) in whole.match_indices("\r\n") {
        let request = format!("{}{}", &whole[..at], &whole[at + 1..]);
        let (status, detail, _) = refused(&request, &rules());
        assert_eq!((status, &*detail), (400, "a line of the request ends in LF without CR"));
    }
    // The bytes after the head are frames.
    assert_eq!(granted(&format!("{whole}\n\n"), &rules()).len, whole.len());
}

#[test]
fn the_limit_of_a_head() {
    let padded = |len: usize| {
        let rest = len - with(&[("", "X-Pad: ")]).len();
        with(&[("", &format!("X-Pad: {}", "x".repeat(rest)))])
    };
    let fits = padded(MAX_HEAD_BYTES);
    assert_eq!(granted(&fits, &rules()).len, MAX_HEAD_BYTES);
    assert_eq!(parse(&fits.as_bytes()[..MAX_HEAD_BYTES - 1], &rules()), Ok(None));
    let over = padded(MAX_HEAD_BYTES + 1);
    assert_eq!(refused(&over, &rules()).0, 431);
    // It is refused without waiting for the rest.
    let (status, detail, _) = refused(&over.as_bytes()[..MAX_HEAD_BYTES], &rules());
    assert_eq!((status, &*detail), (431, "the request's head is longer than 8192 bytes"));
    let many = "X: y\r\n".repeat(99) + "X: y";
    let (status, detail, _) = refused(with(&[("", &many)]), &rules());
    assert_eq!((status, &*detail), (431, "the request has more than 100 headers"));
}

/// Compares with another parser of requests.
#[test]
fn tungstenites_request() {
    let uri = "ws://broker.example:8083/mqtt?x=y".parse().unwrap();
    let built = ClientRequestBuilder::new(uri).with_sub_protocol("mqtt");
    let request = tungstenite::client::IntoClientRequest::into_client_request(built).unwrap();
    let (bytes, _key) = generate_request(request).unwrap();
    assert_eq!(parse(&bytes, &rules()).unwrap().unwrap().len, bytes.len());
}
