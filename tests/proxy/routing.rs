//! Which broker a client gets, and that `mqtt-lb route` says the same.

use std::{collections::HashMap, thread};

use serde_json::Value;

use crate::{
    broker::{Broker, Link, echo},
    client::{CONNACK_V3, Client, Connect, connack, connect},
    harness::{Config, Proxy, end, run, wait_for},
};

const IDS: usize = 200;

fn ids() -> Vec<String> {
    (0..IDS).map(|n| format!("sensor-{n}")).collect()
}

/// The brokers of each ID in the order of tries, as the command line says.
fn route(proxy: &Proxy, more: &[&str], ids: &[String]) -> Vec<Vec<String>> {
    let config = proxy.config_file();
    let mut args = vec!["route", "-c", &config, "--json"];
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
fn visit(proxy: &Proxy, ids: &[String]) -> HashMap<String, Value> {
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

fn brokers<const N: usize>() -> [Broker; N] {
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
fn a_broker_that_is_down_moves_only_its_own_clients() {
    for algorithm in ["rendezvous", "ketama", "maglev"] {
        let mut brokers = brokers::<3>();
        let line = &format!("balance: {{ algorithm: {algorithm} }}");
        let proxy = Config::of(&brokers).pool(line).start();
        let ids = &ids()[..60];
        let expected = route(&proxy, &[], ids);
        brokers[1].stop();
        let visits = visit(&proxy, ids);
        let mut moved = 0;
        for (id, order) in ids.iter().zip(&expected) {
            let line = &visits[id];
            let (upstream, way, tries) = match order[0].as_str() {
                "b2" => (&order[1], "fallback", 2),
                _ => (&order[0], "hash", 1),
            };
            moved += usize::from(way == "fallback");
            assert_eq!(line["upstream"], *upstream, "{algorithm} {id}");
            assert_eq!(line["route"], way);
            assert_eq!(line["tries"], tries);
        }
        assert!(moved > 5, "{moved} of {} moved", ids.len());
        let failed = &["upstream=\"b2\"", "outcome=\"connect_failure\""];
        assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", failed) as usize, moved);
        assert_eq!(
            proxy.metric("mqtt_lb_upstream_tries_total", &["outcome=\"accepted\""]) as usize,
            ids.len()
        );
    }
}

#[test]
fn all_down() {
    let mut brokers = brokers::<2>();
    let proxy = Config::of(&brokers).start();
    brokers.iter_mut().for_each(Broker::stop);
    for (version, code) in [(3, 3), (4, 3), (5, 0x88)] {
        let id = format!("v{version}");
        let answer = connack(version, code);
        Client::exchange(proxy.address(), &connect(version, &id), &answer).expect_end();
        let line = proxy.wait_end(&id);
        assert_eq!(line["event"], "reject");
        assert_eq!(end(&line), "proxy/dial/no_upstream");
        assert_eq!(line["connack"], code);
        assert_eq!(line["connack_reason"], "server_unavailable");
        assert_eq!(line["tries"], 2);
    }
    assert_eq!(proxy.metric("mqtt_lb_rejects_total", &["reason=\"no_upstream\""]) as u64, 3);
    assert_eq!(proxy.metric("mqtt_lb_session_ends_total", &[]) as u64, 3);
    assert_eq!(proxy.metric("mqtt_lb_upstream_sessions_active", &[]) as u64, 0);
    assert_eq!(proxy.metric("mqtt_lb_connections_active", &[]) as u64, 0);
}

#[test]
fn tries_are_limited() {
    let mut brokers = brokers::<3>();
    let proxy = Config::of(&brokers).pool("tries: 1").start();
    let expected = route(&proxy, &[], &["x".to_owned()]);
    let first: usize = expected[0][0][1..].parse().unwrap();
    brokers[first - 1].stop();
    Client::exchange(proxy.address(), &connect(4, "x"), b"\x20\x02\x00\x03").expect_end();
    assert_eq!(proxy.wait_end("x")["tries"], 1);
    assert_eq!(brokers.iter().map(Broker::connections).sum::<usize>(), 0);
}

#[test]
fn a_full_broker() {
    let brokers = brokers::<2>();
    let mut config = Config::of(&brokers);
    config.upstreams[0] = config.upstreams[0].replace(" }", ", max_connections: 2 }");
    let proxy = config.workers(2).start();
    let homes = route(&proxy, &[], &ids());
    let all = ids();
    let mut of_first = all.iter().zip(homes).filter(|(_, order)| order[0] == "b1");
    let mut take = || of_first.next().unwrap().0;
    let (one, two, three, four) = (take(), take(), take(), take());
    let first = Client::session(proxy.address(), one);
    let _second = Client::session(proxy.address(), two);
    let _third = Client::session(proxy.address(), three);
    for (id, upstream, way) in [(one, "b1", "hash"), (two, "b1", "hash"), (three, "b2", "fallback")]
    {
        let line = proxy.wait_connected(id);
        // Nothing was dialled in vain.
        assert_eq!((&line["upstream"], &line["route"]), (&upstream.into(), &way.into()));
        assert_eq!(line["tries"], 1);
    }
    drop(first);
    proxy.wait_end(one);
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &["upstream=\"b1\""], 1.0);
    let _fourth = Client::session(proxy.address(), four);
    assert_eq!(proxy.wait_connected(four)["upstream"], "b1");
}

#[test]
fn every_broker_full() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]);
    config.upstreams[0] = config.upstreams[0].replace(" }", ", max_connections: 1 }");
    let proxy = config.start();
    let _one = Client::session(proxy.address(), "one");
    Client::exchange(proxy.address(), &connect(5, "two"), &connack(5, 0x88)).expect_end();
    let line = proxy.wait_end("two");
    assert_eq!(end(&line), "proxy/dial/limit");
    assert_eq!(line["tries"], Value::Null);
    assert_eq!(broker.connections(), 1);
}

#[test]
fn backups_serve_only_when_no_primary_can() {
    let mut brokers = brokers::<3>();
    let mut config = Config::of(&brokers);
    config.upstreams[2] = config.upstreams[2].replace(" }", ", backup: true }");
    let proxy = config.start();
    let ids = &ids()[..30];
    for line in visit(&proxy, ids).values() {
        assert_ne!(line["upstream"], "b3");
    }
    brokers[0].stop();
    for line in visit(&proxy, ids).values() {
        assert_eq!(line["upstream"], "b2");
    }
    brokers[1].stop();
    for (id, line) in visit(&proxy, ids) {
        assert_eq!(line["upstream"], "b3", "{id}");
        assert_eq!(line["route"], "fallback");
        assert_eq!(line["tries"], 3);
    }
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

/// A broker that closes before its CONNACK: the client is told, in its version.
#[test]
fn a_broker_that_leaves_before_its_connack() {
    for (how, cause) in [("close", "closed"), ("reset", "reset"), ("babble", "malformed")] {
        let broker = Broker::start(move |mut link: Link| {
            if link.read_packet().is_none() {
                return;
            }
            match how {
                "reset" => link.reset(),
                "babble" => link.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                _ => {}
            }
        });
        let proxy = Config::of([&broker]).start();
        for (version, code) in [(4, 3), (5, 0x88)] {
            let id = format!("v{version}");
            let answer = connack(version, code);
            Client::exchange(proxy.address(), &connect(version, &id), &answer).expect_end();
            let line = proxy.wait_end(&id);
            assert_eq!(end(&line), format!("upstream/connack/{cause}"));
            assert_eq!(line["event"], "reject");
            assert_eq!(line["upstream"], "b1");
        }
        let outcome = &["outcome=\"no_connack\""];
        assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", outcome) as u64, 2);
    }
}

/// A client that leaves before it was answered is no failure of the broker.
#[test]
fn a_client_that_leaves_before_its_connack() {
    let silent = Broker::silent();
    let proxy = Config::of([&silent]).start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(4, "hasty"));
    silent.wait_connections(1);
    client.reset();
    let line = proxy.wait_end("hasty");
    assert_eq!(end(&line), "client/connack/reset");
    assert_eq!(line["upstream"], "b1");
    assert_eq!(line["connack"], Value::Null);
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &[], 0.0);
    let tries = |outcome| proxy.metric("mqtt_lb_upstream_tries_total", &[outcome]) as u64;
    assert_eq!(tries("outcome=\"abandoned\""), 1);
    assert_eq!(tries("outcome=\"no_connack\""), 0);
}

/// An address that was taken over by another process answers for the name that is configured.
#[test]
fn a_broker_that_comes_back() {
    let mut brokers = brokers::<2>();
    let proxy = Config::of(&brokers).start();
    let id = "home";
    let order = &route(&proxy, &[], &[id.to_owned()])[0];
    let first = order[0][1..].parse::<usize>().unwrap() - 1;
    brokers[first].stop();
    drop(Client::session(proxy.address(), id));
    assert_eq!(proxy.wait_end(id)["upstream"], order[1]);
    let listener = std::net::TcpListener::bind(brokers[first].address).unwrap();
    let _back = Broker::start_on(listener, echo);
    drop(Client::session(proxy.address(), id));
    let ends = proxy.wait_ends(2);
    assert_eq!(ends[1]["upstream"], order[0]);
    assert_eq!(ends[1]["route"], "hash");
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
