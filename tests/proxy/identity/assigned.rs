//! IDs for clients without one: `balance.empty_client_id: assign`.

use super::packets::{answering, assigned_id, client_id, recording};
use crate::{
    broker::{Broker, version},
    client::{CONNACK_V3, Client, Connect, connack, connect, packet},
    config::Config,
    harness::{end, rejects, run},
};

const ASSIGN: &str = "balance: { empty_client_id: assign }";

/// Without clean start, with a session expiry of an hour.
fn lasting(id: &str) -> Vec<u8> {
    let mut connect =
        Connect { properties: b"\x11\x00\x00\x0E\x10", ..Connect::new(5, id) }.bytes();
    connect[9] &= !0x02;
    connect
}

fn is_assigned(id: &str) -> bool {
    id.len() == 22 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A 5.0 client is told its ID, and finds its broker by it, at another proxy as well.
#[test]
fn an_assigned_id_comes_back_to_its_broker() {
    let brokers: Vec<_> = (0..5).map(|_| recording()).collect();
    let config = Config::of(brokers.iter().map(|(broker, _)| broker)).pool(ASSIGN).workers(2);
    let (proxy, other) = (config.start(), config.start());
    for number in 0..100 {
        let mut client = Client::open(proxy.address());
        client.send(&lasting(""));
        let id = assigned_id(&mut client).expect("an assigned ID");
        assert!(is_assigned(&id), "{id}");
        let (broker, sent) = brokers
            .iter()
            .enumerate()
            .find_map(|(at, (_, connects))| Some((at, connects.try_recv().ok()?)))
            .unwrap();
        assert_eq!(sent, lasting(&id));
        client.echo(b"\xC0\x00");
        drop(client);
        let back = if number % 2 == 0 { &proxy } else { &other };
        let mut client = Client::open(back.address());
        client.send(&lasting(&id));
        // It has an ID now, so it is told none.
        assert_eq!(assigned_id(&mut client), None);
        assert_eq!(brokers[broker].1.try_recv().unwrap(), lasting(&id), "{number}");
    }
    let line = proxy.wait_log("an assigned ID", |line| !line["assigned_client_id"].is_null());
    assert_eq!(line["client_id"], "");
    assert_eq!(line["broker_client_id"], line["assigned_client_id"]);
    assert_eq!(line["route"], "hash");
}

/// 3.x clients get an ID for their connection, if they want no other session.
#[test]
fn clients_before_5_0() {
    let (broker, connects) = recording();
    let proxy = Config::of([&broker]).pool(ASSIGN).start();
    for version in [3, 4] {
        let mut client = Client::open(proxy.address());
        client.send(&connect(version, ""));
        client.expect(CONNACK_V3);
        client.echo(b"\xC0\x00");
        let sent = connects.recv().unwrap();
        let id = client_id(&sent);
        assert!(is_assigned(&id), "{id}");
        assert_eq!(sent, connect(version, &id));
        drop(client);
        let mut clean_0 = connect(version, "");
        let flags = if version == 3 { 11 } else { 9 };
        clean_0[flags] &= !0x02;
        Client::exchange(proxy.address(), &clean_0, &connack(version, 2)).expect_end();
    }
    let refused = rejects(&proxy, 2);
    assert_eq!(end(&refused[0]), "proxy/connect/refused");
    assert!(refused[0]["detail"].as_str().unwrap().contains("without clean session"));
    assert_eq!(broker.connections(), 2);
}

/// Each broker that is tried is sent the same ID, and the broker's properties stay.
#[test]
fn retries_keep_the_id() {
    let answer = |connect: &[u8]| {
        let properties = b"\x21\x00\x0A\x26\x00\x01a\x00\x01b\x24\x01";
        let mut body = vec![0, 0, properties.len() as u8];
        body.extend(properties);
        assert_eq!(version(connect), 5);
        let mut answer = packet(0x20, &body);
        answer.extend(b"\xD0\x00");
        answer
    };
    let busy = |_: &[u8]| connack(5, 0x89);
    for _ in 0..8 {
        let brokers = [answering(busy), answering(answer), answering(busy)];
        let proxy = Config::of(brokers.iter().map(|(broker, _)| broker)).pool(ASSIGN).start();
        let mut client = Client::open(proxy.address());
        client.send(&[connect(5, ""), b"\xC0\x00".to_vec()].concat());
        let sent: Vec<_> = brokers.iter().flat_map(|(_, sent)| sent.try_iter()).collect();
        drop(sent);
        let head = client.rest_of(5);
        let properties = client.rest_of(usize::from(head[4]));
        let len = properties.len();
        let (id, rest) = properties.split_at(25);
        assert_eq!(rest, b"\x21\x00\x0A\x26\x00\x01a\x00\x01b\x24\x01");
        let (name, id) = id.split_at(3);
        assert_eq!(name, b"\x12\x00\x16");
        client.expect(b"\xD0\x00\xC0\x00");
        let id = str::from_utf8(id).unwrap();
        drop(client);
        let line = proxy.wait_log("the end", |line| line["event"] == "disconnect");
        assert_eq!(line["assigned_client_id"], id);
        assert_eq!(line["bytes_in"], connect(5, "").len() + 2);
        assert_eq!(line["bytes_out"], 5 + len + 4);
    }
}

/// A client that takes no packet as long as that is not told its ID.
#[test]
fn a_client_that_accepts_short_packets_only() {
    let (broker, connects) = recording();
    let proxy = Config::of([&broker]).pool(ASSIGN).start();
    for (max, told) in [(29, false), (30, true)] {
        let properties = [0x27, 0, 0, 0, max];
        let mut client = Client::open(proxy.address());
        client.send(&Connect { properties: &properties, ..Connect::new(5, "") }.bytes());
        assert_eq!(assigned_id(&mut client).is_some(), told, "{max}");
        assert!(is_assigned(&client_id(&connects.recv().unwrap())));
    }
}

/// A broker that assigns IDs itself, as it is sent one, and clients with IDs of their own.
#[test]
fn clients_with_an_id_are_left_alone() {
    let (broker, connects) = recording();
    let proxy = Config::of([&broker]).pool(ASSIGN).start();
    for version in [3, 4, 5] {
        let mut client = Client::open(proxy.address());
        client.send(&connect(version, "mine"));
        client.expect(&connack(version, 0));
        assert_eq!(connects.recv().unwrap(), connect(version, "mine"));
    }
}

/// The admin API finds the session by its ID, and says what a client without one gets.
#[test]
fn commands_know_it() {
    let (broker, _connects) = recording();
    let proxy = Config::of([&broker, &Broker::echoing()]).pool(ASSIGN).start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(5, ""));
    let Some(id) = assigned_id(&mut client) else { return };
    proxy.wait_log("the session", |line| line["event"] == "connect");
    let found = proxy.get(&format!("/api/v1/sessions?client_id={id}"));
    assert!(found.contains(&format!("\"assigned_client_id\":\"{id}\"")), "{found}");
    assert!(found.contains("\"client_id\":\"\""), "{found}");
    let route = proxy.get("/api/v1/route?client_id=");
    assert!(route.contains("no key: an ID is assigned"), "{route}");
    let said = run(&["route", "-c", &proxy.config_file(), ""], "");
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "\t(no key: an ID is assigned)\n");
}
