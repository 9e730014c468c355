//! A client's own older session does not count against it, at a limit of its address or its broker.

use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    broker::{Broker, Link, echo_to, version},
    client::{CONNACK_V3, Client, Connect, connack, connect},
    config::Config,
    harness::{Proxy, end, wait_for},
    proxy_header::v2,
    tls_client::Pki,
    websocket::client::{BINARY, FIN, REQUEST, SWITCHED, binary},
};

const PING: &[u8] = b"\xC0\x00";

/// A session that is known to all workers: its CONNACK is on its way a moment before it is.
fn session(proxy: &Proxy, id: &str) -> Client {
    let mut client = Client::session(proxy.address(), id);
    client.echo(PING);
    client
}

fn full(broker: &Broker) -> Config {
    let mut config = Config::of([broker]).workers(2);
    config.upstreams[0] = config.upstreams[0].replace(" }", ", max_connections: 1 }");
    config
}

/// The lines of sessions that ended so.
#[track_caller]
fn wait_taken_over(proxy: &Proxy, count: usize) {
    wait_for(&format!("{count} taken over"), || {
        let log = proxy.log();
        // One that returns this often looks like two with one ID.
        let ends = ["proxy/relay/taken_over", "proxy/relay/duplicate"];
        let taken = log.iter().filter(|line| ends.contains(&&*end(line)));
        (taken.count() == count).then_some(())
    });
}

/// A device that comes back again and again while its last connection is still open.
#[test]
fn a_device_that_returns() {
    let broker = Broker::echoing();
    for config in [
        Config::of([&broker]).workers(2).more("limits: { max_connections_per_ip: 1 }"),
        full(&broker),
        full(&broker).more("limits: { max_connections_per_ip: 1 }"),
    ] {
        let proxy = config.start();
        let mut held = session(&proxy, "pump-1");
        for again in 1..=10 {
            let version = if again % 2 == 0 { 4 } else { 5 };
            let mut newer = Client::open(proxy.address());
            newer.send(&connect(version, "pump-1"));
            newer.expect(&connack(version, 0));
            let (said, _) = held.rest();
            // A goodbye for the sessions of 5.0.
            let goodbye: &[u8] = if version == 4 { b"\xE0\x02\x8E\x00" } else { b"" };
            assert!(said.is_empty() || said == goodbye || said == b"\xE0\x01\x8E", "{said:x?}");
            newer.echo(PING);
            held = newer;
            wait_taken_over(&proxy, again);
            proxy.wait_metric("mqtt_lb_upstream_sessions_active", &[], 1.0);
        }
        // Another device has no such place.
        let answer = connack(4, 3);
        Client::exchange(proxy.address(), &connect(4, "pump-2"), &answer).expect_end();
        assert_eq!(proxy.wait_end("pump-2")["end_cause"], "limit");
        held.echo(PING);
    }
}

/// By TLS, over WebSocket and behind a PROXY header as well; another device is refused.
#[test]
fn by_every_way_in() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    let proxy = full(&broker)
        .another_listener(&format!("name: mqtts, {}", pki.tls("")))
        .another_listener("name: ws, websocket: {}")
        .another_listener("name: proxied, accept_proxy_protocol: { from: [127.0.0.0/8] }")
        .more("limits: { max_connections_per_ip: 1 }")
        .start();
    let tls = |id: &str, answer: &[u8]| {
        let mut client = pki.client().open(proxy.address_of("mqtts"));
        client.send(&connect(4, id));
        client.expect(answer);
        client
    };
    let mut first = tls("pump-1", CONNACK_V3);
    first.echo(PING);
    // Until the refused one has left, it has the one connection beyond the limit.
    let alone = || proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
    drop(tls("pump-2", &connack(4, 3)));
    alone();
    let mut second = tls("pump-1", CONNACK_V3);
    wait_taken_over(&proxy, 1);
    second.echo(PING);
    drop((first, second));
    proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);

    let websocket = |id: &str, answer: &[u8]| {
        let address = proxy.address_of("ws");
        let mut client = Client::exchange(address, REQUEST.as_bytes(), SWITCHED.as_bytes());
        client.send(&binary(&connect(4, id)));
        client.expect(&[&[FIN | BINARY, answer.len() as u8], answer].concat());
        client
    };
    let first = websocket("pump-1", CONNACK_V3);
    drop(websocket("pump-2", &connack(4, 3)));
    alone();
    let second = websocket("pump-1", CONNACK_V3);
    wait_taken_over(&proxy, 2);
    drop((first, second));
    proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);

    let proxied = |id: &str, answer: &[u8]| {
        let header = v2("[2001:db8:7:7::1]:4000", "[2001:db8::9]:1883", b"");
        let bytes = [header, connect(4, id)].concat();
        Client::exchange(proxy.address_of("proxied"), &bytes, answer)
    };
    let mut first = proxied("pump-1", CONNACK_V3);
    first.echo(PING);
    drop(proxied("pump-2", &connack(4, 3)));
    alone();
    proxied("pump-1", CONNACK_V3).echo(PING);
    wait_taken_over(&proxy, 3);
}

/// It goes back to its broker, which is full, although another has room.
#[test]
fn to_the_same_broker() {
    let brokers: [_; 3] = std::array::from_fn(|_| Broker::echoing());
    let mut config = Config::of(&brokers).workers(2);
    for upstream in &mut config.upstreams {
        *upstream = upstream.replace(" }", ", max_connections: 2 }");
    }
    let proxy = config.start();
    let mut held = Vec::new();
    let mut homes = Vec::new();
    for n in 0..5 {
        let id = format!("meter-{n}");
        held.push(session(&proxy, &id));
        homes.push(proxy.wait_connected(&id)["upstream"].clone());
    }
    let is_full = |home: &&_| homes.iter().filter(|other| other == home).count() == 2;
    for (n, home) in homes.iter().enumerate().filter(|(_, home)| is_full(home)) {
        let id = format!("meter-{n}");
        let newer = session(&proxy, &id);
        held[n].expect_end();
        let back = wait_for("its second line", || {
            let log = proxy.log();
            let mut lines = log
                .into_iter()
                .filter(|line| line["event"] == "connect" && line["client_id"] == *id);
            lines.nth(1)
        });
        assert_eq!(back["upstream"], *home, "{id}");
        held[n] = newer;
    }
}

/// Refuses its clients while it is told to.
fn choosy() -> (Broker, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(false));
    let asked = refuses.clone();
    let broker = Broker::start(move |mut link: Link| {
        let Some(packet) = link.read_packet() else { return };
        if asked.load(Ordering::SeqCst) {
            link.send(&connack(version(&packet), if version(&packet) == 5 { 0x87 } else { 5 }));
        } else {
            echo_to(link, &packet);
        }
    });
    (broker, refuses)
}

/// If the newer one is refused, the older one stays, and may stand in again.
#[test]
fn a_newer_one_that_is_refused() {
    let (broker, refuses) = choosy();
    for config in
        [full(&broker), Config::of([&broker]).more("limits: { max_connections_per_ip: 1 }")]
    {
        let proxy = config.start();
        let mut older = session(&proxy, "lock");
        for _ in 0..3 {
            refuses.store(true, Ordering::SeqCst);
            drop(Client::exchange(proxy.address(), &connect(4, "lock"), &connack(4, 5)));
            older.echo(PING);
            proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
        }
        refuses.store(false, Ordering::SeqCst);
        session(&proxy, "lock");
        older.expect_end();
        wait_taken_over(&proxy, 1);
    }
}

/// Who knows an ID gets one connection beyond the limit to the broker, and no more.
#[test]
fn one_newcomer_at_a_time() {
    let silent = Arc::new(AtomicBool::new(false));
    let asked = silent.clone();
    let broker = Broker::start(move |mut link: Link| {
        let Some(packet) = link.read_packet() else { return };
        if asked.load(Ordering::SeqCst) {
            while link.read_packet().is_some() {}
        } else {
            echo_to(link, &packet);
        }
    });
    let proxy = full(&broker).start();
    let mut older = session(&proxy, "door");
    silent.store(true, Ordering::SeqCst);
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::open(proxy.address());
            client.send(&connect(4, "door"));
            client
        })
        .collect();
    let refused = wait_for("all but one to be refused", || {
        let log = proxy.log();
        let refused = log.iter().filter(|line| end(line) == "proxy/dial/limit").count();
        (refused == 19).then_some(refused)
    });
    assert_eq!((refused, broker.connections()), (19, 2));
    older.echo(PING);
    waiting.clear();
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &[], 1.0);
    older.echo(PING);
}

/// Own is what `balance.key` says: tenants with one ID have nothing of each other's.
#[test]
fn another_tenant_has_no_place() {
    let broker = Broker::echoing();
    for limit in ["limits: { max_connections_per_ip: 1 }", ""] {
        let mut config =
            Config::of([&broker]).pool("balance: { key: \"${username}/${client_id}\" }");
        config = if limit.is_empty() {
            config.upstreams[0] = config.upstreams[0].replace(" }", ", max_connections: 1 }");
            config
        } else {
            config.more(limit)
        };
        let proxy = config.start();
        let as_user = |user: &str| Connect::new(4, "gate").username(user).bytes();
        let mut anna = Client::exchange(proxy.address(), &as_user("anna"), CONNACK_V3);
        anna.echo(PING);
        Client::exchange(proxy.address(), &as_user("bert"), &connack(4, 3)).expect_end();
        anna.echo(PING);
        proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
        Client::exchange(proxy.address(), &as_user("anna"), CONNACK_V3).echo(PING);
        anna.expect_end();
    }
}
