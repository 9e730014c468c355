//! What becomes of the sessions of what is no longer in the configuration.

use std::time::{Duration, Instant};

use super::{ping_all, says, sessions, take};
use crate::{
    broker::Broker,
    client::{Client, Connect},
    config::Config,
    harness::{Proxy, end, wait_for},
    routing::{brokers, ids, route},
};

fn those_of(proxy: &Proxy, broker: &str) -> Vec<String> {
    let routes = route(proxy, &[], &ids());
    ids()
        .into_iter()
        .zip(routes)
        .filter(|(_, order)| order[0] == broker)
        .map(|(id, _)| id)
        .collect()
}

#[test]
fn sessions_of_a_removed_broker_end_a_few_a_second() {
    let [b1, b2] = brokers();
    let paced = |config: Config| config.pool("rebalance: { rate: 20 }");
    let proxy = paced(Config::of([&b1, &b2])).start();
    let (stay, go) = (those_of(&proxy, "b1"), those_of(&proxy, "b2"));
    let mut staying = sessions(&proxy, &stay);
    let mut going = sessions(&proxy, &go[..30]);
    let began = Instant::now();
    says(&take(&proxy, &paced(Config::of([&b1]))), "pool brokers: b2 removed");
    let ends = proxy.wait_ends(30);
    // 29 pauses of a twentieth of a second. They cannot have been shorter.
    assert!(began.elapsed() >= Duration::from_millis(1400), "{:?}", began.elapsed());
    for line in &ends {
        assert_eq!(
            (end(line), &line["upstream"]),
            ("proxy/relay/removed".to_owned(), &"b2".into())
        );
    }
    going.values_mut().for_each(Client::expect_end);
    for (id, session) in &mut staying {
        session.echo(b"\xC0\x00");
        assert!(ends.iter().all(|line| line["client_id"] != **id));
    }
    assert_eq!(ends.len(), 30);
    // Nobody asks for it any more.
    wait_for("the removed broker's metrics to be gone", || {
        (!proxy.get("/metrics").contains("upstream=\"b2\"")).then_some(())
    });
}

/// MQTT 5.0 has a word for it: use another server (0x9C).
#[test]
fn a_client_of_5_0_is_told_why() {
    let [b1, b2] = brokers();
    let proxy = Config::of([&b1, &b2]).start();
    let id = &those_of(&proxy, "b2")[0];
    let connect = Connect::new(5, id).bytes();
    let mut client = Client::exchange(proxy.address(), &connect, b"\x20\x03\x00\x00\x00");
    take(&proxy, &Config::of([&b1]));
    client.expect(b"\xE0\x01\x9C");
    client.expect_end();
}

#[test]
fn on_down_keep_keeps_them() {
    let [b1, b2, witness] = brokers();
    let keeping = |config: Config| config.pool("on_down: keep").another_listener("name: other");
    let text = with_second(&keeping(Config::of([&b1, &b2])), &witness);
    let proxy = Proxy::start(&text);
    let routes = route(&proxy, &["--pool", "brokers"], &ids());
    let there = ids().into_iter().zip(routes).filter(|(_, order)| order[0] == "b2");
    let there: Vec<_> = there.map(|(id, _)| id).collect();
    let mut there = sessions(&proxy, &there);
    let mut ending = Client::session(proxy.address_of("other"), "witness");
    take(&proxy, &keeping(Config::of([&b1])));
    let connections = b2.connections();
    // The sweep that ends the session of the removed pool has looked at all others of the worker.
    assert_eq!(end(&proxy.wait_end("witness")), "proxy/relay/removed");
    ending.expect_end();
    ping_all(&mut there);
    let _again = Client::session(proxy.address(), &those_of_first(&there));
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &["upstream=\"b1\""], 1.0);
    assert_eq!(b2.connections(), connections);
    drop(there);
    wait_for("the removed broker's metrics to be gone", || {
        (!proxy.get("/metrics").contains("upstream=\"b2\"")).then_some(())
    });
}

fn those_of_first(there: &std::collections::HashMap<String, Client>) -> String {
    format!("{}-again", there.keys().next().unwrap())
}

/// A broker that is put back is the one it was: its sessions were not all ended yet.
#[test]
fn a_broker_that_comes_back_keeps_what_is_left() {
    let [b1, b2] = brokers();
    let slow = |config: Config| config.pool("rebalance: { rate: 1 }");
    let proxy = slow(Config::of([&b1, &b2])).start();
    let go = those_of(&proxy, "b2");
    let mut going = sessions(&proxy, &go);
    take(&proxy, &slow(Config::of([&b1])));
    proxy.wait_ends(1);
    take(&proxy, &slow(Config::of([&b1, &b2])));
    let ended = proxy.wait_ends(1);
    let ended: Vec<_> = ended.iter().map(|line| line["client_id"].as_str().unwrap()).collect();
    assert!(ended.len() < go.len());
    for (id, session) in going.iter_mut().filter(|(id, _)| !ended.contains(&id.as_str())) {
        session.send(b"\xC0\x00");
        assert!(session.rest_of(2) == b"\xC0\x00", "{id}");
    }
}

/// One that comes back after its last session, and the metrics with it.
#[test]
fn the_counters_of_a_broker_that_comes_back_go_on() {
    let [b1, b2] = brokers();
    let proxy = Config::of([&b1, &b2]).start();
    let ids = those_of(&proxy, "b2");
    let of_b2 = ["upstream=\"b2\"", "outcome=\"accepted\""];
    let accepted = || proxy.metric("mqtt_lb_upstream_tries_total", &of_b2) as usize;
    drop(sessions(&proxy, &ids));
    proxy.wait_ends(ids.len());
    take(&proxy, &Config::of([&b1]));
    wait_for("its metrics to be gone", || {
        (!proxy.get("/metrics").contains("upstream=\"b2\"")).then_some(())
    });
    take(&proxy, &Config::of([&b1, &b2]));
    assert_eq!(accepted(), ids.len());
    drop(sessions(&proxy, &ids[..1]));
    proxy.wait_ends(ids.len() + 1);
    assert_eq!(accepted(), ids.len() + 1);
}

/// A second pool, where the listener `other` leads.
fn with_second(config: &Config, broker: &Broker) -> String {
    let second = format!(
        "pools:\n  - name: second\n    upstreams: [ {{ name: s1, address: \"{}\" }} ]\n",
        broker.address
    );
    let text = config.text().replace("pools:\n", &second);
    text.replace("pool: brokers, name: other", "pool: second, name: other")
}

#[test]
fn a_pool_is_removed_and_its_sessions_end() {
    let [b1, b2] = brokers();
    let config = Config::of([&b1]).another_listener("name: other");
    let text = with_second(&config, &b2);
    let proxy = Proxy::start(&text);
    let mut first = sessions(&proxy, &ids()[..10]);
    let mut second: Vec<_> =
        (0..10).map(|n| Client::session(proxy.address_of("other"), &format!("s{n}"))).collect();
    let said = take(&proxy, &config);
    says(&said, "listener other: now uses pool brokers");
    says(&said, "pool second: removed");
    let ends = proxy.wait_ends(10);
    for line in &ends {
        assert_eq!(end(line), "proxy/relay/removed");
        assert_eq!((&line["pool"], &line["listener"]), (&"second".into(), &"other".into()));
    }
    second.iter_mut().for_each(Client::expect_end);
    ping_all(&mut first);
    Client::session(proxy.address_of("other"), "through-the-other");
    assert_eq!(proxy.wait_end("through-the-other")["pool"], "brokers");
    wait_for("the removed pool's metrics to be gone", || {
        (!proxy.get("/metrics").contains("pool=\"second\"")).then_some(())
    });
}

/// A pool and its listener come back after their metrics had gone: each series goes on.
#[test]
fn the_metrics_of_a_pool_that_comes_back_go_on() {
    let [b1, b2] = brokers();
    let without = Config::of([&b1]);
    let with = with_second(&without.clone().another_listener("name: other"), &b2);
    let proxy = Proxy::start(&with);
    let of_pool = ["pool=\"second\"", "upstream=\"s1\"", "outcome=\"accepted\""];
    let of_listener = ["listener=\"other\""];
    let series = || -> Vec<_> {
        let metrics = proxy.get("/metrics");
        let is_its =
            |line: &&str| line.contains("pool=\"second\"") || line.contains("listener=\"other\"");
        metrics
            .lines()
            .filter(is_its)
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
            .collect()
    };
    for n in 0..3 {
        Client::session(proxy.address_of("other"), &format!("first-{n}"));
    }
    proxy.wait_ends(3);
    let before = series();
    for _ in 0..2 {
        take(&proxy, &without);
        wait_for("the metrics to be gone", || series().is_empty().then_some(()));
        super::reload(&proxy, &with);
        assert_eq!(series(), before);
    }
    assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", &of_pool) as u64, 3);
    let address = proxy.stderr().iter().rev().find_map(|line| {
        let (_, address) = line.split_once("listening listener=other address=")?;
        address.trim().parse().ok()
    });
    Client::session(address.unwrap(), "again");
    proxy.wait_end("again");
    assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", &of_pool) as u64, 4);
    assert_eq!(proxy.metric("mqtt_lb_connections_total", &of_listener) as u64, 4);
    assert_eq!(proxy.metric("mqtt_lb_handshake_seconds_count", &of_listener) as u64, 4);
    assert_eq!(proxy.metric("mqtt_lb_upstream_sessions_active", &["upstream=\"s1\""]) as u64, 0);
    assert_eq!(proxy.metric("mqtt_lb_upstream_up", &["upstream=\"s1\""]) as u64, 1);
}
