//! Quotas: sessions at a time with one username, or with one value of another template.

use std::{fs, net::SocketAddr};

use rustix::process::Signal;

use crate::{
    broker::{Broker, echo_to},
    client::{CONNACK_V3, CONNACK_V5, Client, Connect, connack, connect},
    config::Config,
    harness::{Proxy, end},
    tls_client::Pki,
};

/// A client of MQTT 5.0 or 3.1.1 with a username, and the answer to it.
#[track_caller]
fn user(to: SocketAddr, version: u8, id: &str, username: &str, code: u8) -> Client {
    let packet = Connect::new(version, id).username(username).bytes();
    Client::exchange(to, &packet, &connack(version, code))
}

fn reload(proxy: &Proxy, config: &str) {
    let applied = ["outcome=\"applied\""];
    let before = proxy.metric("mqtt_lb_config_reloads_total", &applied);
    fs::write(proxy.config_file(), config).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_metric("mqtt_lb_config_reloads_total", &applied, before + 1.0);
}

/// The limit counts over both workers, and each username by itself.
#[test]
fn connections_of_one_username() {
    let broker = Broker::echoing();
    let limits = "limits: { max_connections_per_username: 3 }";
    let proxy = Config::of([&broker]).workers(2).more(limits).start();
    let to = proxy.address();
    let mut held: Vec<_> = (0..3).map(|n| user(to, 4, &format!("a{n}"), "anna", 0)).collect();
    for (version, code) in [(3, 3), (4, 3), (5, 0x97)] {
        let id = format!("more-{version}");
        user(to, version, &id, "anna", code).expect_end();
        let line = proxy.wait_end(&id);
        assert_eq!(end(&line), "proxy/connect/limit");
        assert_eq!(line["detail"], "more than max_connections_per_username of \"anna\"");
        assert_eq!(line["upstream"], serde_json::Value::Null);
    }
    let quota = ["quota=\"max_connections_per_username\""];
    proxy.wait_metric("mqtt_lb_quota_refused_total", &quota, 3.0);
    assert_eq!(broker.connections(), 3);
    // Others are not affected, nor are clients without a username.
    let _others: Vec<_> = (0..3).map(|n| user(to, 5, &format!("b{n}"), "bert", 0)).collect();
    let _without: Vec<_> = (0..5).map(|n| Client::session(to, &format!("c{n}"))).collect();

    held.remove(0).reset();
    proxy.wait_end("a0");
    user(to, 5, "a-again", "anna", 0).echo(b"\xC0\x00");
}

/// A device that comes back while its old session is still open is let in, and its old one ends.
#[test]
fn a_client_replaces_its_own_session() {
    let broker = Broker::echoing();
    let limits = "limits: { max_connections_per_username: 2, max_connections_per_ip: 3 }";
    let proxy = Config::of([&broker]).workers(2).more(limits).start();
    let to = proxy.address();
    let mut old = user(to, 4, "device", "anna", 0);
    let _other = user(to, 4, "other", "anna", 0);
    for _ in 0..3 {
        let new = user(to, 4, "device", "anna", 0);
        old.expect_end();
        old = new;
    }
    user(to, 5, "third", "anna", 0x97).expect_end();
    // The refused client counts by its address until it has closed.
    proxy.wait_metric("mqtt_lb_connections_active", &["listener=\"mqtt\""], 2.0);
    // Both limits are reached, and one older session counts towards both.
    let _without = Client::session(to, "without");
    let mut new = user(to, 4, "device", "anna", 0);
    old.expect_end();
    new.echo(b"\xC0\x00");
    let taken_over = |line: &serde_json::Value| line["end_cause"] == "taken_over";
    proxy.wait_log("the end of an old session", taken_over);
}

/// A client that its broker refuses does not count, even while it stays connected.
#[test]
fn refused_clients_leave_their_place() {
    let refusing = Broker::start(|mut link| {
        let _ = link.read_packet();
        link.send(&connack(4, 5));
    });
    let limits = "limits: { max_connections_per_username: 1 }";
    let proxy = Config::of([&refusing]).workers(1).more(limits).start();
    let _refused: Vec<_> =
        (0..5).map(|n| user(proxy.address(), 4, &format!("c{n}"), "anna", 5)).collect();
}

/// A device that connects again as soon as it has its CONNACK replaces its session each time.
#[test]
fn reconnects_at_a_full_quota() {
    let broker = Broker::echoing();
    let limits = "limits: { max_connections_per_username: 1 }";
    let proxy = Config::of([&broker]).workers(2).more(limits).start();
    let mut old = Vec::new();
    for _ in 0..500 {
        old.push(user(proxy.address(), 4, "device", "anna", 0));
    }
    let mut newest = old.pop().unwrap();
    old.iter_mut().for_each(Client::expect_end);
    newest.echo(b"\xC0\x00");
    proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
}

/// Who knows a device's names but not its password does not keep the device from replacing its own
/// session, even while the refused connection is open.
#[test]
fn refused_logins_do_not_hold_a_session() {
    let broker = Broker::start(|mut link| {
        let Some(connect) = link.read_packet() else { return };
        if connect.ends_with(b"right") {
            return echo_to(link, &connect);
        }
        link.send(&connack(4, 5));
        while link.read_packet().is_some() {}
    });
    let limits = "limits: { max_connections_per_username: 1 }";
    let proxy = Config::of([&broker]).workers(2).more(limits).start();
    let login = |password, code| {
        let names = Connect::new(4, "device").username("anna");
        let packet = Connect { password: Some(password), ..names }.bytes();
        Client::exchange(proxy.address(), &packet, &connack(4, code))
    };
    let mut old = login("right", 0);
    let mut refused = Vec::new();
    for _ in 0..5 {
        refused.push(login("wrong", 5));
        old.echo(b"\xC0\x00");
        let new = login("right", 0);
        old.expect_end();
        old = new;
    }
}

/// A tenant is known by the host it asks for.
#[test]
fn a_quota_by_host() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let limits = "limits: { quotas: [{ name: tenant, key: \"${sni}\", max_connections: 2 }] }";
    let proxy = Config::of([&broker]).workers(2).listener(&pki.tls("")).more(limits).start();
    let trust = pki.client();
    let mut held: Vec<_> =
        ["a", "b"].map(|id| trust.open(proxy.address()).session(id)).into_iter().collect();
    let mut third = trust.open(proxy.address());
    third.send(&connect(5, "third"));
    third.expect(&connack(5, 0x97));
    let line = proxy.wait_end("third");
    assert_eq!(line["detail"], "more than max_connections of quota tenant for \"localhost\"");
    proxy.wait_metric("mqtt_lb_quota_refused_total", &["quota=\"tenant\""], 1.0);

    let status = proxy.get("/api/v1/status");
    let (_, body) = status.split_once("\r\n\r\n").unwrap();
    let status: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        status["quotas"],
        serde_json::json!([{
            "name": "tenant",
            "max_connections": 2,
            "keys": 1,
            "fullest": [{ "key": "localhost", "connections": 2 }],
        }])
    );
    held.clear();
    proxy.wait_ends(3);
    trust.open(proxy.address()).session("again");
}

/// The username that counts is the one that the broker sees.
#[test]
fn the_username_for_the_broker_counts() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .listener("rewrite: { username: \"tenant-1\" }")
        .more("limits: { max_connections_per_username: 2 }")
        .start();
    let to = proxy.address();
    let _held = [user(to, 4, "a", "anna", 0), user(to, 4, "b", "bert", 0)];
    user(to, 5, "c", "carl", 0x97).expect_end();
    assert_eq!(
        proxy.wait_end("c")["detail"],
        "more than max_connections_per_username of \"tenant-1\""
    );
}

/// Other limits apply to new clients; other keys count existing sessions as well.
#[test]
fn quotas_follow_the_configuration() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).workers(2);
    let with = |limits: &str| config.clone().more(&format!("limits: {{ {limits} }}")).text();
    let proxy = Proxy::start(&config.text());
    let to = proxy.address();
    let mut held: Vec<_> = (0..4).map(|n| user(to, 4, &format!("a{n}"), "anna", 0)).collect();

    reload(&proxy, &with("max_connections_per_username: 4"));
    user(to, 5, "b", "anna", 0x97).expect_end();
    reload(&proxy, &with("max_connections_per_username: 5"));
    held.push(user(to, 5, "c", "anna", 0));
    user(to, 5, "d", "anna", 0x97).expect_end();
    // A lower limit ends no session.
    reload(&proxy, &with("max_connections_per_username: 1"));
    for client in &mut held {
        client.echo(b"\xC0\x00");
    }
    user(to, 5, "e", "anna", 0x97).expect_end();

    let quota = |key: &str, max: u32| {
        with(&format!("quotas: [{{ name: q, key: \"{key}\", max_connections: {max} }}]"))
    };
    reload(&proxy, &quota("${source_ip}/${username}", 6));
    held.push(user(to, 5, "f", "anna", 0));
    user(to, 5, "g", "anna", 0x97).expect_end();
    reload(&proxy, &quota("${listener}", 7));
    held.push(user(to, 5, "h", "hans", 0));
    Client::exchange(to, &connect(5, "i"), &connack(5, 0x97)).expect_end();

    reload(&proxy, &config.text());
    held.push(Client::exchange(to, &connect(5, "j"), CONNACK_V5));
    held.push(Client::exchange(to, &connect(4, "k"), CONNACK_V3));
    assert_eq!(proxy.metric("mqtt_lb_quota_refused_total", &[]) as u32, 0);
    for client in &mut held {
        client.echo(b"\xC0\x00");
    }
}
