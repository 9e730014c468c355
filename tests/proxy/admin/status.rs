//! The proxy as a whole, its log, and its reloads.

use serde_json::json;

use super::http::{ask, get};
use crate::{
    broker::Broker,
    client::{CONNACK_V5, Client, connect},
    config::Config,
    harness::wait_for,
};

#[test]
fn the_whole_status() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .workers(2)
        .another_listener("name: ws, websocket: {}")
        .more("limits: { max_connections: 2 }")
        .start();
    let _first = Client::session(proxy.address(), "first");
    let _second = Client::exchange(proxy.address(), &connect(5, "second"), CONNACK_V5);
    Client::exchange(proxy.address(), &connect(5, "third"), b"\x20\x03\x00\x97\x00").expect_end();
    proxy.wait_ends(1);
    let mut status = wait_for("the third to be gone", || {
        let status = get(&proxy, "/api/v1/status");
        (status["connections_open"] == 2).then_some(status)
    });
    for (part, wanted) in [
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/ready", json!(true)),
        ("/workers", json!(2)),
        ("/config/file", json!(proxy.config_file())),
        ("/config/generation", json!(1)),
        ("/ends", json!([{ "by": "proxy", "phase": "connect", "cause": "limit", "count": 1 }])),
        ("/rejects", json!({ "limit": 1 })),
        ("/access_log_dropped", json!(0)),
    ] {
        assert_eq!(status.pointer(part), Some(&wanted), "{part}");
    }
    assert_eq!(
        status["listeners"],
        json!([
            {
                "name": "mqtt", "bind": proxy.address().to_string(), "transport": "tcp",
                "transports": ["tcp"],
                "pool": "brokers", "connections_active": 2, "connections_total": 3,
                "sessions_total": { "3": 0, "4": 1, "5": 1 },
            },
            {
                "name": "ws", "bind": proxy.address_of("ws").to_string(), "transport": "ws",
                "transports": ["ws"],
                "pool": "brokers", "connections_active": 0, "connections_total": 0,
                "sessions_total": { "3": 0, "4": 0, "5": 0 },
            },
        ])
    );
    let descriptors = status["descriptors"].take();
    let used = descriptors["used"].as_u64().unwrap();
    assert!((10..=proxy.descriptors() as u64 + 5).contains(&used), "{descriptors}");
    assert!(descriptors["limit"].as_u64() > descriptors["connections_possible"].as_u64());
    let started = status["started_at"].as_str().unwrap();
    assert!(started.len() == 24 && started.ends_with('Z'), "{started}");
    assert!(status["uptime_s"].as_f64().unwrap() > 0.0);
    assert_eq!(status.get("not_ready"), None);
    assert_eq!(status["config"].get("last_reload"), None);
}

#[test]
fn not_ready_says_why() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let drained =
        super::http::patch(&proxy, "/api/v1/pools/brokers/upstreams/b1", r#"{ "state": "drain" }"#);
    assert_eq!(drained.status, 200);
    let status = get(&proxy, "/api/v1/status");
    let why = "no pool has a broker that takes sessions";
    assert_eq!((&status["ready"], &status["not_ready"]), (&json!(false), &json!(why)));
    let ready = ask(&proxy, "GET", "/readyz", "", "");
    assert_eq!((ready.status, ready.body), (503, format!("not ready: {why}\n")));
    // It still has a session, and would take it again.
    assert_eq!(ask(&proxy, "GET", "/livez", "", "").status, 200);
}

#[test]
fn the_log_is_told_line_by_line() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let log = get(&proxy, "/api/v1/log");
    let lines = log["lines"].as_array().unwrap();
    let listening = lines.iter().find(|line| {
        line["message"] == format!("listening listener=mqtt address={}", proxy.address())
    });
    assert_eq!(listening.unwrap()["level"], "INFO", "{log}");
    assert_eq!(log["last"], lines.last().unwrap()["seq"]);
    let last = log["last"].as_u64().unwrap();

    let target = format!("/api/v1/log?after={last}");
    assert_eq!(get(&proxy, &target), json!({ "lines": [], "last": last }));
    proxy.signal(rustix::process::Signal::USR1);
    let more = wait_for("a new line", || {
        let log = get(&proxy, &target);
        (log["last"] != last).then_some(log)
    });
    assert_eq!(more["lines"][0]["seq"], last + 1);
    assert_eq!(more["lines"][0]["message"], "SIGUSR1: reopening the access logs");
}

#[test]
fn what_is_no_api_but_belongs_to_it() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let page = ask(&proxy, "GET", "/", "", "");
    assert_eq!(page.status, 200);
    for (header, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(header), Some(value), "{header}");
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
    for (file, media_type) in [
        ("/dashboard.js", "text/javascript; charset=utf-8"),
        ("/dashboard.css", "text/css; charset=utf-8"),
        ("/api/v1/openapi.json", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        let told = ask(&proxy, "GET", file, "", "");
        assert_eq!((told.status, told.header("content-type")), (200, Some(media_type)), "{file}");
        let head = ask(&proxy, "HEAD", file, "", "");
        assert_eq!((head.status, &*head.body), (200, ""), "{file}");
    }
}

/// Reading the configuration again is another matter; this is what the API makes of a refusal.
#[test]
fn a_reload_that_is_refused() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    std::fs::write(proxy.config_file(), "colour: blue\n").unwrap();
    let told = ask(&proxy, "POST", "/api/v1/reload", "", "");
    assert_eq!(told.status, 422);
    let body = told.json();
    assert_eq!(body["error"], "the configuration is invalid; nothing has changed");
    assert!(!body["faults"].as_array().unwrap().is_empty(), "{body}");
    let last = &get(&proxy, "/api/v1/status")["config"]["last_reload"];
    assert_eq!((&last["outcome"], &last["faults"]), (&json!("refused"), &body["faults"]));
}
