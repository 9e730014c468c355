//! Connections that send nothing and leave: checks of balancers, and no clients turned away.

use crate::{
    broker::Broker,
    client::{Client, connect},
    config::Config,
    harness::{Proxy, end, wait_for},
    proxy_header::{raw_v2, v1, v2},
    tls_client::Pki,
};

const TRUSTING: &str = "accept_proxy_protocol: { from: [127.0.0.1] }";

/// Checks once with these bytes, ended in order and by a reset.
fn check(proxy: &Proxy, bytes: &[u8]) {
    let mut client = Client::open(proxy.address());
    client.send(bytes);
    client.finish();
    let _ = client.rest();
    let mut client = Client::open(proxy.address());
    client.send(bytes);
    // A reset that comes with the header would take it along.
    if bytes.is_empty() {
        client.reset();
    }
}

#[test]
fn checks_by_all_transports() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let (tls, both) = (pki.tls(""), format!("{}, {TRUSTING}", pki.tls("")));
    let headers = [
        raw_v2(0x20, 0, b""),
        v1("192.0.2.1:1000", "192.0.2.2:1883"),
        v2("[2001:db8::1]:1000", "[2001:db8::2]:1883", b""),
        b"".to_vec(),
    ];
    let nothing = [b"".to_vec()];
    for (listener, checks) in [
        ("", &nothing[..]),
        (&tls, &nothing),
        ("websocket: {}", &nothing),
        (&format!("{tls}, websocket: {{}}"), &nothing),
        (TRUSTING, &headers),
        (&both, &headers),
    ] {
        let config = Config::of([&broker]);
        let proxy = if listener.is_empty() { config } else { config.listener(listener) }.start();
        for bytes in checks {
            check(&proxy, bytes);
        }
        let count = 2 * checks.len();
        for line in proxy.wait_ends(count) {
            assert_eq!(line["event"], "probe", "{listener}: {line}");
            let end = end(&line);
            assert!(end.starts_with("client/handshake/") || end.starts_with("client/connect/"));
            assert!(["closed", "reset"].iter().any(|cause| end.ends_with(cause)), "{end}");
            assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&0.into(), &0.into()));
        }
        let metric = |name: &str, labels: &[&str]| proxy.metric(name, labels) as usize;
        assert_eq!(metric("mqtt_lb_probes_total", &["listener=\"mqtt\""]), count);
        assert_eq!(metric("mqtt_lb_rejects_total", &[]), 0);
        assert_eq!(metric("mqtt_lb_session_ends_total", &["by=\"client\""]), count);
        assert_eq!(metric("mqtt_lb_connections_total", &[]), count);
    }
    assert_eq!(broker.connections(), 0);
}

/// A log has them where it says so, and a byte is no check.
#[test]
fn what_is_no_check_and_which_log_has_them() {
    let broker = Broker::echoing();
    let pki = Pki::new();
    for (listener, byte) in
        [("", 0x10), (&*pki.tls(""), 0x16), ("websocket: {}", b'G'), (TRUSTING, 0x0D)]
    {
        let mut config = Config::of([&broker]);
        config.access_log = "{ path: access.log }, { path: probes.log, events: [probe] }".into();
        let proxy = if listener.is_empty() { config } else { config.listener(listener) }.start();
        drop(Client::open(proxy.address()));
        proxy.wait_metric("mqtt_lb_probes_total", &[], 1.0);
        let mut begun = Client::open(proxy.address());
        begun.send(&[byte]);
        begun.finish();
        let _ = begun.rest();
        let log = wait_for("its line", || Some(proxy.log()).filter(|log| !log.is_empty()));
        assert_eq!(log.len(), 1);
        assert_eq!(log[0]["event"], "reject", "{listener}: {log:?}");
        let probes = wait_for("the probe", || {
            let lines = crate::harness::json_lines(&proxy.path("probes.log"));
            Some(lines).filter(|lines| !lines.is_empty())
        });
        assert_eq!((probes.len(), &probes[0]["event"]), (1, &"probe".into()));
        assert_eq!(proxy.metric("mqtt_lb_probes_total", &[]) as u64, 1);
        assert_eq!(proxy.metric("mqtt_lb_rejects_total", &[]) as u64, 1);
    }
}

/// It waits for nobody, and its time runs out: no check does that.
#[test]
fn silence_until_the_time_is_over() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("timeouts: { connect_packet: 200ms }").start();
    Client::open(proxy.address()).expect_end();
    let line = proxy.wait_ends(1).remove(0);
    assert_eq!((&line["event"], &*end(&line)), (&"reject".into(), "proxy/connect/timeout"));
    assert_eq!(proxy.metric("mqtt_lb_probes_total", &[]) as u64, 0);
    // A TLS handshake, a WebSocket request or a CONNECT without an end is no check either.
    let mut client = Client::open(proxy.address());
    client.send(&connect(4, "c")[..5]);
    drop(client);
    assert_eq!(proxy.wait_ends(2).remove(1)["event"], "reject");
}
