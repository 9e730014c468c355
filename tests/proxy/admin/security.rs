//! Who may ask, and from where.

use std::fs;

use super::http::{Told, ask, exchange, told};
use crate::{
    broker::Broker,
    config::Config,
    harness::{Proxy, program},
};

const GUARDED: [(&str, &str); 10] = [
    ("GET", "/metrics"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/config"),
    ("GET", "/api/v1/upstreams"),
    ("PATCH", "/api/v1/pools/brokers/upstreams/b1"),
    ("GET", "/api/v1/sessions"),
    ("DELETE", "/api/v1/sessions/0000000000000000"),
    ("GET", "/api/v1/route?client_id=x"),
    ("GET", "/api/v1/openapi.json"),
    ("POST", "/api/v1/reload"),
];

pub(super) fn with_token(broker: &Broker) -> Proxy {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("admin.token"), "s3cret\n").unwrap();
    let text = Config::of([broker]).text().replace(
        "admin: { bind: \"127.0.0.1:0\" }",
        "admin: { bind: \"0.0.0.0:0\", token_file: admin.token }",
    );
    Proxy::start_in(dir, &text, |_| program())
}

#[test]
fn nothing_is_told_or_done_without_the_token() {
    let broker = Broker::echoing();
    let proxy = with_token(&broker);
    for (method, target) in GUARDED {
        for headers in ["", "Authorization: Bearer s3creT\r\n", "Authorization: Basic czNjcmV0\r\n"]
        {
            let told = ask(&proxy, method, target, headers, "");
            assert_eq!(told.status, 401, "{method} {target} {headers}");
            assert_eq!(told.header("www-authenticate"), Some("Bearer"));
            assert!(told.error().contains("token_file"), "{told:?}");
        }
        let told = ask(&proxy, method, target, "Authorization: Bearer s3cret\r\n", "");
        assert_ne!(told.status, 401, "{method} {target}");
    }
    for open in ["/", "/dashboard.js", "/dashboard.css", "/livez", "/readyz"] {
        assert_eq!(ask(&proxy, "GET", open, "", "").status, 200, "{open}");
    }
    // With a token any name will do: a page of another site has none to send.
    let headers = "Host: mqtt-lb.example:9883\r\nAuthorization: Bearer s3cret\r\n";
    assert_eq!(ask(&proxy, "GET", "/api/v1/status", headers, "").status, 200);
    assert!(!proxy.stderr().join("\n").contains("s3cret"));
}

#[test]
fn no_page_of_another_site_gets_through() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let status = |headers: &str| -> Told { ask(&proxy, "GET", "/api/v1/status", headers, "") };
    let own = format!("127.0.0.1:{}", proxy.admin().port());
    for good in [
        format!("Host: {own}\r\n"),
        format!("Host: {own}\r\nOrigin: http://{own}\r\n"),
        format!("Host: {own}\r\nOrigin: https://{own}\r\n"),
        "Host: localhost:1\r\nOrigin: http://LOCALHOST:1\r\n".to_owned(),
        "Host: [::1]:9883\r\n".to_owned(),
    ] {
        assert_eq!(status(&good).status, 200, "{good}");
    }
    for bad in [
        format!("Host: {own}\r\nOrigin: http://evil.example\r\n"),
        format!("Host: {own}\r\nOrigin: null\r\n"),
        format!("Host: {own}\r\nOrigin: http://{own}.evil.example\r\n"),
        format!("Host: {own}\r\nOrigin: http://127.0.0.1:1\r\n"),
        "Host: evil.example\r\n".to_owned(),
        "Host: evil.example\r\nOrigin: http://evil.example\r\n".to_owned(),
        "Host: localhost.evil.example\r\n".to_owned(),
    ] {
        let told = status(&bad);
        assert_eq!(told.status, 403, "{bad}");
        assert!(!told.error().is_empty());
    }
    for (method, target) in GUARDED {
        let told = ask(&proxy, method, target, "Origin: http://evil.example\r\n", "");
        assert_eq!(told.status, 403, "{method} {target}");
    }
    // What a browser asks before it sends anything else.
    let asks = "Origin: http://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n";
    let told = ask(&proxy, "OPTIONS", "/api/v1/sessions/0000000000000000", asks, "");
    assert_eq!(told.status, 405);
    assert_eq!(told.header("access-control-allow-origin"), None);
    assert_eq!(ask(&proxy, "GET", "/livez", "Host: probe.example\r\n", "").status, 200);
    // HTTP/1.0 needs no Host, and has no page behind it that could lie about it.
    let old = told_of(&proxy, b"GET /api/v1/status HTTP/1.0\r\n\r\n");
    assert_eq!(old.status, 403);
}

/// What a browser says of the page that asks, where it sends no `Origin`.
#[test]
fn only_pages_of_its_own_change_anything() {
    let broker = Broker::echoing();
    for (proxy, token) in [
        (Config::of([&broker]).start(), ""),
        (with_token(&broker), "Authorization: Bearer s3cret\r\n"),
    ] {
        for (method, target) in [
            ("POST", "/api/v1/reload"),
            ("PATCH", "/api/v1/pools/brokers/upstreams/b1"),
            ("DELETE", "/api/v1/sessions/0000000000000000"),
        ] {
            let asked = |sites: &[&str]| {
                let headers = sites.iter().map(|site| format!("Sec-Fetch-Site: {site}\r\n"));
                let headers = headers.collect::<String>() + token;
                ask(&proxy, method, target, &headers, "")
            };
            for bad in [
                &["cross-site"][..],
                &["same-site"],
                &[""],
                &["Same-Origin"],
                &["same-origin", "cross-site"],
                &["cross-site", "none"],
            ] {
                let told = asked(bad);
                assert_eq!(told.status, 403, "{method} {target} {bad:?}");
                assert!(told.error().contains("Sec-Fetch-Site"), "{told:?}");
            }
            for good in [&["same-origin"][..], &["none"], &[]] {
                assert_ne!(asked(good).status, 403, "{method} {target} {good:?}");
            }
        }
        // A link on another site.
        let headers = format!("Sec-Fetch-Site: cross-site\r\n{token}");
        assert_eq!(ask(&proxy, "GET", "/api/v1/status", &headers, "").status, 200);
    }
}

/// The target's host counts where it has one, and there is one `Host`.
#[test]
fn whom_a_request_is_for() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    for (target, headers, status) in [
        ("http://localhost/api/v1/status", "Host: evil.example", 200),
        ("http://evil.example/api/v1/status", "Host: localhost", 403),
        ("http://localhost@evil.example/api/v1/status", "Host: localhost", 403),
        ("http://127.0.0.1:1/livez", "Host: localhost", 200),
        ("http://evil.example", "Host: localhost", 200),
        ("/api/v1/status", "Host: localhost\r\nHost: evil.example", 400),
        ("/api/v1/status", "Host: localhost\r\nHost: localhost", 400),
        ("/api/v1/status", "X: y", 403),
        ("/api/v1/status", "Host:", 403),
        ("/api/v1/status", "Host: localhost\r\nOrigin: http://localhost", 200),
        ("/api/v1/status", "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: null", 403),
        // A probe may say what it likes.
        ("/readyz", "X: y", 200),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        let told = told_of(&proxy, request.as_bytes());
        assert_eq!(told.status, status, "{target} {headers}: {told:?}");
    }
}

fn told_of(proxy: &Proxy, bytes: &[u8]) -> Told {
    told(&exchange(proxy.admin(), bytes))
}
