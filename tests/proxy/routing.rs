//! Which broker a client gets, and that `mqtt-lb route` says the same.

use std::{collections::HashMap, thread};

use serde_json::Value;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, Connect, connack, connect},
    config::Config,
    harness::{Proxy, end, run, wait_for},
};

const IDS: usize = 200;

pub(crate) fn ids() -> Vec<String> {
    (0..IDS).map(|n| format!("sensor-{n}")).collect()
}

/// The brokers of each ID in the order of tries, as the command line says.
pub(crate) fn route(proxy: &Proxy, more: &[&str], ids: &[String]) -> Vec<Vec<String>> {
    route_by(&proxy.config_file(), more, ids)
}

pub(crate) fn route_by(config: &str, more: &[&str], ids: &[String]) -> Vec<Vec<String>> {
    let mut args = vec!["route", "-c", config, "--json"];
    args.extend(more);
    args.extend(ids.iter().map(String::as_str));
    let output = run(&args, "");
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), ids.len());
    let order =
        |line: &Value| -> Vec<String> { serde_json::from_value(line["brokers"].clone()).unwrap() };
    lines.iter().map(order).collect()
}

/// Connects and disconnects every ID; their `disconnect` lines by ID.
pub(crate) fn visit(proxy: &Proxy, ids: &[String]) -> HashMap<String, Value> {
    let seen = proxy.log().len();
    for id in ids {
        Client::session(proxy.address(), id);
    }
    wait_for("every disconnect", || {
        let log = proxy.log().split_off(seen);
        let ends: HashMap<_, _> = log
            .into_iter()
            .filter(|line| line["event"] == "disconnect")
            .map(|line| (line["client_id"].as_str().unwrap().to_owned(), line))
            .collect();
        (ends.len() == ids.len()).then_some(ends)
    })
}

pub(crate) fn brokers<const N: usize>() -> [Broker; N] {
    std::array::from_fn(|_| Broker::echoing())
}

#[test]
fn clients_go_where_route_says() {
    let brokers = brokers::<4>();
    let ids = ids();
    let mut homes = None;
    // Other addresses, other ports, other workers, the same names: nobody moves.
    for (workers, order) in [(1, [0, 1, 2, 3]), (2, [3, 2, 1, 0])] {
        let proxy = Config::of(order.map(|n| &brokers[n])).workers(workers).start();
        let expected = route(&proxy, &[], &ids);
        assert!(expected.iter().all(|order| order.len() == 4));
        let visits = visit(&proxy, &ids);
        for (id, order) in ids.iter().zip(&expected) {
            let line = &visits[id];
            assert_eq!(line["upstream"], order[0], "{id}");
            assert_eq!(line["route"], "hash");
            assert_eq!(line["tries"], 1);
        }
        let homes = homes.get_or_insert_with(|| expected.clone());
        assert_eq!(*homes, expected);
        assert_eq!(proxy.metric("mqtt_lb_routes_total", &["route=\"hash\""]) as usize, IDS);
    }
    let firsts: std::collections::HashSet<_> =
        homes.unwrap().into_iter().map(|order| order[0].clone()).collect();
    assert_eq!(firsts.len(), 4);
    assert_eq!(brokers.iter().map(Broker::connections).sum::<usize>(), 2 * IDS);
}

#[test]
fn empty_client_ids() {
    let brokers = brokers::<3>();
    let empty = Connect::new(4, "").username("carol").bytes();
    let anonymous = connect(5, "");

    let proxy = Config::of(&brokers).start();
    let _held: Vec<_> =
        (0..6).map(|_| Client::exchange(proxy.address(), &empty, CONNACK_V3)).collect();
    for name in ["b1", "b2", "b3"] {
        // The fewer of two drawn at random: with three brokers none is left out for long.
        let label = format!("upstream=\"{name}\"");
        let sessions = proxy.metric("mqtt_lb_upstream_sessions_active", &[&label]);
        assert!(sessions < 4.0, "{name} has {sessions}");
    }
    assert_eq!(proxy.metric("mqtt_lb_routes_total", &["route=\"empty_id\""]) as u64, 6);

    let by_name = Config::of(&brokers).pool("balance: { empty_client_id: username }").start();
    let key = Config::of(&brokers).pool("balance: { key: username }").start();
    let home = &route(&key, &["--username", "carol"], &["any".to_owned()])[0][0];
    for _ in 0..5 {
        Client::exchange(by_name.address(), &empty, CONNACK_V3);
    }
    for line in by_name.wait_ends(5) {
        assert_eq!(line["upstream"], *home);
        assert_eq!(line["route"], "empty_id");
        assert_eq!(line["client_id"], "");
    }

    let by_ip = Config::of(&brokers).pool("balance: { empty_client_id: source_ip }").start();
    let key = Config::of(&brokers).pool("balance: { key: source_ip }").start();
    let home = &route(&key, &["--source", "127.0.0.1"], &["any".to_owned()])[0][0];
    for _ in 0..5 {
        Client::exchange(by_ip.address(), &anonymous, &connack(5, 0));
    }
    for line in by_ip.wait_ends(5) {
        assert_eq!(line["upstream"], *home);
    }

    let served: usize = brokers.iter().map(Broker::connections).sum();
    let none = Config::of(&brokers).pool("balance: { empty_client_id: reject }").start();
    for (connect, answer) in [(&empty, connack(4, 2)), (&anonymous, connack(5, 0x85))] {
        Client::exchange(none.address(), connect, &answer).expect_end();
    }
    for line in none.wait_ends(2) {
        assert_eq!(end(&line), "proxy/connect/refused");
    }
    assert_eq!(none.metric("mqtt_lb_rejects_total", &["reason=\"refused\""]) as u64, 2);
    assert_eq!(brokers.iter().map(Broker::connections).sum::<usize>(), served);
}

#[test]
fn keys_of_several_fields() {
    let brokers = brokers::<4>();
    let line = "balance: { key: \"${username}/${client_id}\" }";
    let proxy = Config::of(&brokers).pool(line).start();
    let ids = &ids()[..40];
    let expected = route(&proxy, &["--username", "dave"], ids);
    let without = route(&proxy, &[], ids);
    assert_ne!(expected, without);
    for id in ids {
        let connect = Connect::new(4, id).username("dave").bytes();
        Client::exchange(proxy.address(), &connect, CONNACK_V3);
    }
    let ends = proxy.wait_ends(ids.len());
    let home = |line: &Value| (line["client_id"].to_string(), line["upstream"].to_string());
    let homes = |orders: &[Vec<String>]| -> HashMap<String, String> {
        let home = |(id, order): (&String, &Vec<String>)| {
            (Value::from(&**id).to_string(), Value::from(&*order[0]).to_string())
        };
        ids.iter().zip(orders).map(home).collect()
    };
    assert_eq!(ends.iter().map(home).collect::<HashMap<_, _>>(), homes(&expected));
    let visits = visit(&proxy, ids);
    assert_eq!(visits.values().map(home).collect::<HashMap<_, _>>(), homes(&without));
}

#[test]
fn pools_that_look_at_no_key() {
    let brokers = brokers::<3>();
    let proxy = Config::of(&brokers).pool("balance: { algorithm: round_robin }").start();
    let _held: Vec<_> = (0..9).map(|_| Client::session(proxy.address(), "same")).collect();
    assert_eq!(brokers.each_ref().map(Broker::connections), [3; 3]);
    assert_eq!(proxy.metric("mqtt_lb_routes_total", &["route=\"balanced\""]) as u64, 9);

    let proxy = Config::of(&brokers).pool("balance: { algorithm: least_connections }").start();
    let _held: Vec<_> = (0..30).map(|_| Client::session(proxy.address(), "same")).collect();
    for broker in &brokers {
        let sessions = broker.connections() - 3;
        assert!((5..=15).contains(&sessions), "{sessions} of 30 on one of three");
    }
}

/// Concurrent reconnects, as after a network failure, find their brokers just the same.
#[test]
fn a_storm_of_reconnects() {
    let brokers = brokers::<3>();
    let proxy = Config::of(&brokers).workers(2).start();
    let ids = &ids()[..100];
    let expected = route(&proxy, &[], ids);
    thread::scope(|scope| {
        for part in ids.chunks(25) {
            let proxy = &proxy;
            scope.spawn(move || {
                for _ in 0..3 {
                    let mut clients: Vec<_> =
                        part.iter().map(|id| Client::session(proxy.address(), id)).collect();
                    for client in &mut clients {
                        client.echo(b"\xC0\x00");
                    }
                }
            });
        }
    });
    let home: HashMap<_, _> = ids.iter().zip(expected).collect();
    for line in proxy.wait_ends(300) {
        let id = line["client_id"].as_str().unwrap().to_owned();
        assert_eq!(line["upstream"], home[&id][0]);
    }
}

#[test]
fn several_listeners_and_pools() {
    let [red, blue] = brokers::<2>();
    let proxy = Proxy::start(&format!(
        "listeners:\n\
         - {{ name: to-red, bind: \"127.0.0.1:0\", pool: red }}\n\
         - {{ name: to-blue, bind: \"127.0.0.1:0\", pool: blue }}\n\
         pools:\n\
         - {{ name: red, upstreams: [ {{ name: one, address: \"{}\" }} ] }}\n\
         - {{ name: blue, upstreams: [ {{ name: one, address: \"{}\" }} ] }}\n\
         access_log: [ {{ path: access.log }} ]\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\n",
        red.address, blue.address
    ));
    for (colour, broker) in [("red", &red), ("blue", &blue)] {
        let listener = format!("to-{colour}");
        Client::session(proxy.address_of(&listener), colour);
        let line = proxy.wait_end(colour);
        assert_eq!(line["listener"], listener);
        assert_eq!(line["pool"], colour);
        assert_eq!(line["upstream"], "one");
        assert_eq!(line["upstream_address"], broker.address.to_string());
        assert_eq!(broker.connections(), 1);
        let labels = format!("listener=\"{listener}\"");
        assert_eq!(proxy.metric("mqtt_lb_connections_total", &[&labels]) as u64, 1);
        let labels = format!("pool=\"{colour}\"");
        assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", &[&labels]) as u64, 1);
    }
}
