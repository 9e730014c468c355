//! Limits on connections.

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connack, connect},
    config::Config,
    harness::{Proxy, end},
};

/// Turned away in every version, with the code that 5.0 has for it.
#[track_caller]
fn turned_away(proxy: &Proxy, v5_code: u8) {
    for (version, code) in [(3, 3), (4, 3), (5, v5_code)] {
        let id = format!("late-{version}");
        let seen = proxy.log().len();
        let answer = connack(version, code);
        Client::exchange(proxy.address(), &connect(version, &id), &answer).expect_end();
        let line = crate::harness::wait_for("the reject", || {
            let log = proxy.log().split_off(seen);
            log.into_iter().find(|line| line["client_id"] == *id)
        });
        assert_eq!(line["event"], "reject");
        assert_eq!(end(&line), "proxy/connect/limit");
        assert_eq!(line["connack"], code);
        assert_eq!(line["tries"], serde_json::Value::Null);
    }
}

/// Waits until so many connections are recorded as refused: a client sees its end before that.
fn wait_rejects(proxy: &Proxy, wanted: u64) {
    proxy.wait_metric("mqtt_lb_rejects_total", &["reason=\"limit\""], wanted as f64);
}

#[test]
fn max_connections() {
    for (limits, workers) in [
        ("limits: { max_connections: 3 }", 1),
        ("limits: { max_connections: 3 }", 2),
        ("limits: { max_connections_per_ip: 3 }", 2),
    ] {
        let broker = Broker::echoing();
        let proxy = Config::of([&broker]).workers(workers).more(limits).start();
        let mut held: Vec<_> =
            (0..3).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
        turned_away(&proxy, 0x97);
        wait_rejects(&proxy, 3);
        // Those who are in stay in.
        for client in &mut held {
            client.echo(b"\xC0\x00");
        }
        held.pop();
        proxy.wait_end("c2");
        proxy.wait_metric("mqtt_lb_connections_active", &[], 2.0);
        held.push(Client::session(proxy.address(), "again"));
        turned_away(&proxy, 0x97);
        assert_eq!(broker.connections(), 4);
        drop(held);
        proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
        let _again: Vec<_> =
            (0..3).map(|n| Client::session(proxy.address(), &format!("d{n}"))).collect();
    }
}

/// Silent connections count too, and what is far over the limit is not even listened to.
#[test]
fn far_over_max_connections() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("limits: { max_connections: 3 }").start();
    // The limit, and a tenth of it and one more.
    let mut silent: Vec<_> = (0..4).map(|_| Client::open(proxy.address())).collect();
    proxy.wait_metric("mqtt_lb_connections_active", &[], 4.0);
    Client::open(proxy.address()).expect_end();
    let line = proxy.wait_ends(1).remove(0);
    assert_eq!(end(&line), "proxy/handshake/limit");
    // The fourth is told when it asks.
    let mut fourth = silent.pop().unwrap();
    fourth.send(&connect(5, "fourth"));
    fourth.expect(&connack(5, 0x97));
    fourth.expect_end();
    drop(fourth);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 3.0);
    silent[0].send(&connect(4, "first"));
    silent[0].expect(CONNACK_V3);
}
