//! Walks through all sessions of a worker, which take more than one turn: nobody is left out.

use rustix::process::Signal;

use crate::{
    broker::Broker,
    client::{Client, connect},
    config::Config,
    harness::{Proxy, end, rejects},
};

/// More than one turn sets the options of, wakes or ends.
const SESSIONS: usize = 100;

fn open(proxy: &Proxy) -> Vec<Client> {
    let id = |n| format!("many-{n}");
    let clients: Vec<_> = (0..SESSIONS).map(|n| Client::session(proxy.address(), &id(n))).collect();
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &[], SESSIONS as f64);
    clients
}

#[test]
fn all_idle_sessions_end() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("timeouts: { idle: 1s }").start();
    let _clients = open(&proxy);
    for line in proxy.wait_ends(SESSIONS) {
        assert_eq!(end(&line), "proxy/relay/idle");
    }
}

/// Handshakes that wait for something too.
#[test]
fn all_end_with_the_drain() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).more("drain: { timeout: 1s }").start();
    let _clients = open(&proxy);
    let handshakes: Vec<_> = (0..SESSIONS).map(|_| Client::open(proxy.address())).collect();
    proxy.wait_metric("mqtt_lb_connections_active", &[], 2.0 * SESSIONS as f64);
    proxy.signal(Signal::TERM);
    proxy.wait_exit();
    let ends = proxy.wait_ends(2 * SESSIONS);
    assert_eq!(ends.len(), 2 * SESSIONS);
    for line in ends {
        assert_eq!(line["end_cause"], "drain", "{line}");
    }
    drop(handshakes);
}

/// A limit by address that a reload brings counts all who are in, before the reload is done.
#[test]
fn all_are_counted_after_a_reload() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]);
    let proxy = config.start();
    let mut clients = open(&proxy);
    let limits = format!("limits: {{ max_connections_per_ip: {SESSIONS} }}");
    std::fs::write(proxy.config_file(), config.more(&limits).text()).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_stderr("reloaded");
    let mut refused = Client::open(proxy.address());
    refused.send(&connect(4, "one too many"));
    let line = &rejects(&proxy, 1)[0];
    assert_eq!(
        (end(line).as_str(), &line["client_id"]),
        ("proxy/connect/limit", &"one too many".into())
    );
    // Who was counted is counted out.
    drop((refused, clients.pop()));
    proxy.wait_metric("mqtt_lb_connections_active", &[], SESSIONS as f64 - 1.0);
    Client::session(proxy.address(), "in its place").echo(b"\xC0\x00");
}
