//! Sessions of clients whose rule has changed.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::{Mutex, mpsc::channel},
};

use serde_json::Value;

use super::TwoPools;
use crate::{
    broker::{Broker, Link},
    client::{Client, Connect, connack},
    config::Config,
    harness::{Proxy, end, wait_for},
    reload::{reload, take},
};

fn session(proxy: &Proxy, version: u8, id: &str) -> Client {
    let connect = Connect::new(version, id).keep_alive(0).bytes();
    Client::exchange(proxy.address(), &connect, &connack(version, 0))
}

fn disconnects(proxy: &Proxy, count: usize) -> Vec<Value> {
    wait_for("the disconnects", || {
        let log = proxy.log().into_iter();
        let ends: Vec<_> = log.filter(|line| line["event"] == "disconnect").collect();
        (ends.len() >= count).then_some(ends)
    })
}

/// A reload sends the clients whose rule has changed to their new pool, at the rate of the old one,
/// and leaves the others alone.
#[test]
fn a_reload_moves_those_whose_rule_has_changed() {
    let (main, other) = (Broker::echoing(), Broker::echoing());
    let config = Config::of([&main]).workers(2).pool("rebalance: { rate: 200 }").another_pool(
        "other",
        &other,
        "rebalance: { rate: 200 }",
    );
    let with = |percent: u32| {
        let rule =
            format!("rules: [{{ name: canary, when: {{ percent: {percent} }}, pool: other }}]");
        config.clone().listener(&rule)
    };
    let proxy = with(0).start();
    let ids: Vec<_> = (0..60).map(|n| format!("device-{n}")).collect();
    let mut clients: Vec<_> = ids.iter().map(|id| session(&proxy, 5, id)).collect();
    let mut moved = BTreeSet::new();
    for percent in [30, 60, 100, 0] {
        take(&proxy, &with(percent));
        let in_share = |id: &String| {
            let hash = xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), 0x0070_6572_6365_6e74);
            ((hash >> 32) * 10_000) >> 32 < u64::from(percent) * 100
        };
        let now: BTreeSet<_> = ids.iter().filter(|id| in_share(id)).cloned().collect();
        for (id, client) in ids.iter().zip(&mut clients) {
            if moved.contains(id) == now.contains(id) {
                client.echo(b"\xC0\x00");
                continue;
            }
            assert_eq!(client.rest(), (b"\xE0\x01\x9C".to_vec(), Ok(())), "{id} {percent}");
            *client = session(&proxy, 5, id);
            let newest = wait_for("the connect", || {
                let log = proxy.log().into_iter();
                let mine = log.filter(|l| l["client_id"] == **id && l["event"] == "connect");
                // Lines of two workers are in the order in which they were written.
                let newest = mine.max_by_key(|line| line["time"].as_str().map(str::to_owned));
                newest.filter(|line| (line["pool"] == "other") == now.contains(id))
            });
            assert_eq!(newest["rule"] == "canary", now.contains(id));
        }
        moved = now;
    }
    assert!(disconnects(&proxy, 120).iter().all(|line| end(line) == "proxy/relay/rebalance"));
}

/// Without `rebalance`, sessions stay in their pool until they end; but clients that the rules now
/// refuse do not.
#[test]
fn refused_sessions_end() {
    let pools = TwoPools::new();
    let config = pools.config.clone().workers(2);
    let proxy = config.start();
    let mut clients = ["keeps", "moves", "stolen"].map(|id| session(&proxy, 5, id));
    take(
        &proxy,
        &config.listener(
            "rules: [{ name: no, when: { client_id: stolen }, refuse: banned }, \
             { name: go, when: { client_id: moves }, pool: other }]",
        ),
    );
    // Administrative action.
    assert_eq!(clients[2].rest(), (b"\xE0\x01\x98".to_vec(), Ok(())));
    assert_eq!(end(&proxy.wait_end("stolen")), "proxy/relay/rule");
    clients[..2].iter_mut().for_each(|client| client.echo(b"\xC0\x00"));
    drop(Client::exchange(proxy.address(), &Connect::new(5, "stolen").bytes(), &connack(5, 0x8A)));
}

/// A client that comes back in another pool, because its rule has changed, ends its session in the
/// former one; a client with the same ID to which the rule does not apply keeps its own.
#[test]
fn one_session_over_pools() {
    let pools = TwoPools::new();
    let config =
        pools.config.clone().workers(2).pool("balance: { key: \"${username}/${client_id}\" }");
    let proxy = config.start();
    let open = |username: &str| {
        let connect = Connect::new(5, "dev").username(username).keep_alive(0).bytes();
        Client::exchange(proxy.address(), &connect, &connack(5, 0))
    };
    let (mut anna, mut bert) = (open("anna"), open("bert"));
    let rule = "rules: [{ name: go, when: { username: anna }, pool: other }]";
    take(&proxy, &config.listener(rule));
    anna.echo(b"\xC0\x00");
    let mut again = open("anna");
    assert_eq!(anna.rest(), (b"\xE0\x01\x8E".to_vec(), Ok(())));
    again.echo(b"\xC0\x00");
    bert.echo(b"\xC0\x00");
    assert_eq!(end(&proxy.wait_end("dev")), "proxy/relay/taken_over");
}

/// The rules change while a client waits for its CONNACK: its session begins in the pool that they
/// named before, and moves as those that were there.
#[test]
fn a_change_while_a_client_waits_for_its_broker() {
    let (arrived, arrival) = channel();
    let (answer, answers) = channel::<()>();
    let answers = Mutex::new(answers);
    let slow = Broker::start(move |mut link: Link| {
        if link.read_packet().is_none() {
            return;
        }
        arrived.send(()).unwrap();
        // Fails once the test has ended.
        let _ = answers.lock().unwrap().recv();
        link.send(&connack(5, 0));
        while link.read_packet().is_some() {}
    });
    let other = Broker::echoing();
    let config = Config::of([&slow]).workers(2).pool("rebalance: { rate: 100 }").another_pool(
        "other",
        &other,
        "rebalance: { rate: 100 }",
    );
    let with = |percent: u32| {
        let rule = format!("{{ name: canary, when: {{ percent: {percent} }}, pool: other }}");
        config.clone().listener(&format!("rules: [{rule}]"))
    };
    let proxy = with(0).start();
    let mut client = Client::open(proxy.address());
    client.send(&Connect::new(5, "dev").keep_alive(0).bytes());
    arrival.recv().unwrap();
    take(&proxy, &with(100));
    answer.send(()).unwrap();
    client.expect(&connack(5, 0));
    // Use another server.
    assert_eq!(client.rest(), (b"\xE0\x01\x9C".to_vec(), Ok(())));
    assert_eq!(end(&proxy.wait_end("dev")), "proxy/relay/rebalance");
    drop(session(&proxy, 5, "dev"));
    assert_eq!(other.connections(), 1);
}

/// A listener that a reload renames keeps its sessions, and so do its rules.
#[test]
fn a_reload_renames_the_listener() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = free.local_addr().unwrap();
    drop(free);
    let pools = TwoPools::new();
    let config =
        pools.config.clone().workers(2).bind(bind.to_string()).pool("rebalance: { rate: 200 }");
    let rule = "rules: [{ name: go, when: { client_id: moves }, pool: other }, \
                { name: no, when: { client_id: stolen }, refuse: banned }]";
    let proxy = config.start();
    let mut clients = ["keeps", "moves", "stolen"].map(|id| session(&proxy, 5, id));
    let renamed = config.clone().listener(rule).text().replace("name: mqtt,", "name: renamed,");
    let said = reload(&proxy, &renamed);
    assert!(
        said.iter().any(|line| line.contains("listener mqtt: renamed to renamed")),
        "{said:#?}"
    );
    assert_eq!(clients[1].rest(), (b"\xE0\x01\x9C".to_vec(), Ok(())));
    assert_eq!(clients[2].rest(), (b"\xE0\x01\x98".to_vec(), Ok(())));
    clients[0].echo(b"\xC0\x00");
    // Log lines of a session have the name of its start.
    assert_eq!(proxy.wait_end("moves")["listener"], "mqtt");
    clients[1] = session(&proxy, 5, "moves");
    let line = proxy.wait_log("the connect", |line| line["listener"] == "renamed");
    assert_eq!((&line["client_id"], &line["pool"]), (&"moves".into(), &"other".into()));
}
