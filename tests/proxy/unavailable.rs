//! Brokers that are down, full, or leave: who moves, and what clients are told.

use std::{
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::{
    broker::{Broker, Link, echo},
    client::{Client, connack, connect},
    config::Config,
    harness::end,
    routing::{brokers, ids, route, visit},
};

/// For tests of what a single CONNECT meets with.
pub(crate) const NO_EJECTION: &str = "health: { passive: { failures: 0 } }";

#[test]
fn a_broker_that_is_down_moves_only_its_own_clients() {
    for algorithm in ["rendezvous", "ketama", "maglev"] {
        let mut brokers = brokers::<3>();
        let line = &format!("balance: {{ algorithm: {algorithm} }}");
        let proxy = Config::of(&brokers).pool(line).pool(NO_EJECTION).start();
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
    // Whether another broker answers is asked by the proxy itself, with no CONNECT.
    assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", &[]) as u64, 1);
    assert_eq!(proxy.metric("mqtt_lb_connacks_total", &[]) as u64, 0);
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
    Client::exchange(proxy.address(), &connect(5, "two"), &connack(5, 0x89)).expect_end();
    let line = proxy.wait_end("two");
    assert_eq!(line["connack_reason"], "server_busy");
    assert_eq!(end(&line), "proxy/dial/limit");
    assert_eq!(line["tries"], Value::Null);
    assert_eq!(broker.connections(), 1);
}

#[test]
fn backups_serve_only_when_no_primary_can() {
    let mut brokers = brokers::<3>();
    let mut config = Config::of(&brokers);
    config.upstreams[2] = config.upstreams[2].replace(" }", ", backup: true }");
    let proxy = config.pool(NO_EJECTION).start();
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

/// A broker's death ends its own sessions, each with a record, and no other.
#[test]
fn a_broker_that_dies() {
    let links = Arc::<Mutex<Vec<TcpStream>>>::default();
    let kept = links.clone();
    let mortal = Broker::start(move |link| {
        kept.lock().unwrap().push(link.stream.try_clone().unwrap());
        echo(link);
    });
    let lasting = Broker::echoing();
    let proxy = Config::of([&mortal, &lasting]).workers(2).start();
    let ids = &ids()[..100];
    let homes = route(&proxy, &[], ids);
    let mut clients: Vec<_> = ids.iter().map(|id| Client::session(proxy.address(), id)).collect();
    let (theirs, others): (Vec<_>, Vec<_>) =
        clients.iter_mut().zip(&homes).partition(|(_, order)| order[0] == "b1");
    assert!(theirs.len() > 20 && others.len() > 20, "{} and {}", theirs.len(), others.len());
    assert_eq!(links.lock().unwrap().len(), theirs.len());
    for link in &*links.lock().unwrap() {
        link.shutdown(Shutdown::Both).unwrap();
    }
    let count = theirs.len();
    for (client, _) in theirs {
        client.expect_end();
        client.finish();
    }
    for line in proxy.wait_ends(count) {
        assert_eq!(line["upstream"], "b1");
        assert_eq!(end(&line), "upstream/relay/closed");
    }
    for (client, _) in others {
        client.echo(b"\xC0\x00");
    }
    assert_eq!(proxy.metric("mqtt_lb_upstream_sessions_active", &["\"b1\""]) as u64, 0);
    assert_eq!(proxy.metric("mqtt_lb_session_ends_total", &[]) as usize, count);
}
