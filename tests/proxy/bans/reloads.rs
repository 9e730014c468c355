//! Bans and reloads, transports, drains.

use std::fs;

use rustix::process::Signal;

use super::{ban, bans, post};
use crate::{
    admin::http::ask,
    broker::Broker,
    client::{CONNACK_V5, Client, connack, connect},
    config::Config,
    harness::{Proxy, end},
    tls_client::Pki,
    websocket::client::WsClient,
};

#[track_caller]
fn reload(proxy: &Proxy, config: &Config) {
    fs::write(proxy.config_file(), config.text()).unwrap();
    let told = ask(proxy, "POST", "/api/v1/reload", "", "");
    assert_eq!(told.status, 200, "{told:?}");
}

/// The operator's bans stay; those of a rate that bans no more end.
#[test]
fn a_reload_keeps_what_the_file_still_asks_for() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]);
    let by_id = |more: &str| {
        config.clone().more(&format!("limits: {{ connects_per_client_id: {{ {more} }} }}"))
    };
    let proxy = by_id("rate: 1, burst: 1, ban_for: 1h").start();
    ban(&proxy, "ip", "198.51.100.0/24", 600);
    for _ in 0..3 {
        let mut client = Client::open(proxy.address());
        client.send(&connect(5, "flaps"));
        client.rest_of(5);
    }
    let both = ["client_id flaps connects_per_client_id", "ip 198.51.100.0/24 operator"];
    assert_eq!(bans(&proxy), both);
    reload(&proxy, &by_id("rate: 1, burst: 1, ban_for: 2h"));
    assert_eq!(bans(&proxy).len(), 2);
    Client::exchange(proxy.address(), &connect(5, "flaps"), &connack(5, 0x8A));
    reload(&proxy, &by_id("rate: 100, burst: 100"));
    assert_eq!(bans(&proxy), both[1..]);
    Client::exchange(proxy.address(), &connect(5, "flaps"), CONNACK_V5);
    reload(&proxy, &config);
    assert_eq!(bans(&proxy), both[1..]);
}

#[test]
fn sessions_end_over_every_transport() {
    let (broker, pki) = (Broker::echoing(), Pki::new());
    let proxy = Config::of([&broker])
        .workers(2)
        .another_listener(&format!("name: mqtts, {}", pki.tls("")))
        .another_listener("name: ws, websocket: {}")
        .start();
    let mut tcp = Client::session(proxy.address(), "tcp");
    let mut tls = pki.client().open(proxy.address_of("mqtts")).session("tls");
    let mut ws = WsClient::session(proxy.address_of("ws"), "ws");
    let mut other = Client::session(proxy.address(), "other");
    for id in ["tcp", "tls", "ws"] {
        ban(&proxy, "client_id", id, 600);
    }
    tcp.expect_end();
    let (rest, was_closed) = tls.rest();
    assert!(rest.is_empty() && was_closed);
    let _ = ws.tcp.rest();
    for id in ["tcp", "tls", "ws"] {
        assert_eq!(end(&proxy.wait_end(id)), "proxy/relay/banned");
    }
    other.echo(b"\xC0\x00");
}

#[test]
fn bans_are_imposed_while_the_proxy_drains() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).more("drain: { timeout: 60m }").start();
    let mut held = Client::exchange(proxy.address(), &connect(5, "held"), CONNACK_V5);
    proxy.wait_connected("held");
    proxy.signal(Signal::TERM);
    proxy.wait_stderr("stopped accepting");
    ban(&proxy, "client_id", "held", 600);
    assert_eq!(held.rest(), (b"\xE0\x01\x98".to_vec(), Ok(())));
    assert_eq!(end(&proxy.wait_end("held")), "proxy/relay/banned");
    proxy.wait_exit();
}

/// A hundred thousand bans, while a client pings.
#[test]
fn many_bans() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("limits: { max_bans: 100000 }").start();
    let mut client = Client::session(proxy.address(), "pings");
    for batch in 0..10 {
        let of = |number| {
            let value = format!("device-{batch}-{number}");
            serde_json::json!({ "kind": "client_id", "value": value, "for_s": 3600 })
        };
        let list: Vec<_> = (0..10_000).map(of).collect();
        let told = post(&proxy, &serde_json::json!({ "bans": list }));
        assert_eq!((told.status, &told.json()["banned"]), (200, &10_000.into()));
        client.echo(b"\xC0\x00");
    }
    let told = post(
        &proxy,
        &serde_json::json!({ "bans": [{ "kind": "username", "value": "x", "for_s": 1 }] }),
    );
    assert_eq!(told.status, 409);
    assert!(told.error().contains("limits.max_bans"), "{told:?}");
    proxy.wait_metric("mqtt_lb_bans_active", &["kind=\"client_id\""], 100_000.0);
    Client::exchange(proxy.address(), &connect(5, "device-3-77"), &connack(5, 0x8A));
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = crate::admin::http::get(&proxy, &format!("/api/v1/bans?limit=1000{cursor}"));
        assert_eq!(page["total"], 100_000);
        seen += page["bans"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, 100_000);
    assert_eq!(ask(&proxy, "DELETE", "/api/v1/bans?all=true", "", "").status, 204);
    assert!(bans(&proxy).is_empty());
    client.echo(b"\xC0\x00");
}
