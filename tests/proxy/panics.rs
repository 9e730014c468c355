//! What a panic in a connection's task costs: that connection. The build for tests panics on demand.

use std::{io::Read, process::ExitStatus};

use rustix::process::Signal;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect, publish},
    config::Config,
    harness::{Proxy, end, program, wait_for},
    tls_client::Pki,
    tls_upstream,
};

/// Has the task of one client's connection panic at a place.
fn proxy(broker: &Broker, place: &str) -> Proxy {
    start(&Config::of([broker]).more("limits: { max_connections: 2 }"), place)
}

fn start(config: &Config, place: &str) -> Proxy {
    Proxy::start_in(tempfile::tempdir().unwrap(), &config.text(), |_| {
        let mut command = program();
        command.env("MQTT_LB_TEST_PANIC", place);
        command
    })
}

/// The panic of `victim`, several times, while another session goes on.
fn see(proxy: &mut Proxy, victim: impl Fn(&Proxy), ended: &str) {
    let mut other = Client::session(proxy.address(), "other");
    other.echo(b"\xC0\x00");
    let descriptors = proxy.descriptors();
    // More than there are places: each has to be given back.
    for _ in 0..4 {
        victim(proxy);
        proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
    }
    let ends = proxy.wait_ends(4);
    for line in &ends {
        assert_eq!(end(line), ended);
        assert_eq!(line["client_id"], "victim");
        assert_eq!(line["detail"], "internal error: the task of this connection panicked");
    }
    other.echo(b"\xC0\x00");
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &[], 1.0);
    wait_for("the descriptors", || (proxy.descriptors() <= descriptors).then_some(()));
    assert_eq!(ends.len(), 4);
    other.finish();
    proxy.wait_end("other");
    // Nothing is unfinished: no drain is waited for.
    proxy.signal(Signal::TERM);
    assert!(ExitStatus::success(&proxy.wait_exit()));
    proxy.wait_stderr("all sessions have ended");
}

#[test]
fn of_a_session() {
    if !cfg!(debug_assertions) {
        return;
    }
    let broker = Broker::echoing();
    let mut proxy = proxy(&broker, "relay:victim");
    let victim = |proxy: &Proxy| {
        let mut client = Client::exchange(proxy.address(), &connect(4, "victim"), CONNACK_V3);
        assert!(client.rest().1.is_err(), "its connection is reset");
    };
    see(&mut proxy, victim, "proxy/relay/error");
}

/// The keys of a worker's other TLS sessions can still be used.
#[test]
fn of_a_session_with_tls() {
    if !cfg!(debug_assertions) {
        return;
    }
    let pki = Pki::new();
    let broker = tls_upstream::broker(Pki::server(&pki.issue("broker"), None));
    let to_broker = format!("tls: {{ ca: \"{}/ca.pem\" }}", pki.path().display());
    let config = Config::of([&broker]).listener(&pki.tls("")).pool(&to_broker);
    let proxy = start(&config, "relay:victim");
    let mut other = pki.client().open(proxy.address()).session("other");
    for n in 1..=4 {
        let mut victim = pki.client().open(proxy.address());
        victim.send(&connect(4, "victim"));
        // Its connection is reset, before or after the CONNACK is read.
        let _ = victim.stream.read_to_end(&mut Vec::new());
        let line = proxy.wait_ends(n).pop().unwrap();
        assert_eq!(
            (end(&line), &line["client_id"]),
            ("proxy/relay/error".into(), &"victim".into())
        );
        other.echo(&publish(&[7; 5000]));
    }
}

#[test]
fn of_a_handshake() {
    if !cfg!(debug_assertions) {
        return;
    }
    let broker = Broker::echoing();
    let mut proxy = proxy(&broker, "handshake:victim");
    let victim = |proxy: &Proxy| {
        let mut client = Client::open(proxy.address());
        client.send(&connect(4, "victim"));
        assert_eq!(client.rest().0, b"");
    };
    see(&mut proxy, victim, "proxy/dial/error");
}
