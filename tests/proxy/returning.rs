//! A broker comes back: its clients go home, at a rate, and none of them is online twice.

use std::net::TcpListener;

use serde_json::Value;

use crate::{
    broker::{Broker, Link, echo},
    client::{Client, Connect, connack, packet, text},
    config::Config,
    harness::{Proxy, end, wait_for},
    routing::{ids, route},
};

/// Two brokers, the first of them away; the proxy has ejected it, for a moment only.
struct Away {
    proxy: Proxy,
    first: Broker,
    _second: Broker,
    /// IDs whose home is the first.
    ids: Vec<String>,
}

const PASSIVE: &str = "health: { passive: { failures: 1, eject_for: 100ms } }";

fn away(pool: &[&str], second: Broker) -> Away {
    let mut first = Broker::echoing();
    let config = Config::of([&first, &second]).workers(2).pool(PASSIVE);
    let proxy = pool.iter().fold(config, |config, line| config.pool(line)).start();
    let orders = route(&proxy, &[], &ids());
    let mut homes = ids().into_iter().zip(orders);
    let ids = homes.by_ref().filter(|(_, order)| order[0] == "b1").map(|(id, _)| id).collect();
    first.stop();
    Away { proxy, first, _second: second, ids }
}

impl Away {
    fn session(&self, version: u8, id: &str) -> Client {
        let connect = Connect::new(version, id).keep_alive(0).bytes();
        Client::exchange(self.proxy.address(), &connect, &connack(version, 0))
    }

    /// Starts the first broker again, and waits until a client has been its trial.
    fn bring_back(&mut self) {
        let listener = TcpListener::bind(self.first.address).unwrap();
        self.first = Broker::start_on(listener, echo);
        let id = self.ids.last().unwrap();
        wait_for("the trial", || {
            drop(self.session(4, id));
            self.proxy.stderr().iter().any(|line| line.contains("back from ejection")).then_some(())
        });
    }

    fn ends(&self, cause: &str) -> Vec<Value> {
        self.proxy.log().into_iter().filter(|line| line["end_cause"] == cause).collect()
    }
}

#[test]
fn sessions_go_home_oldest_first() {
    let mut away = away(&["rebalance: { rate: 100 }"], Broker::echoing());
    let mine: Vec<_> = away.ids[..20].to_vec();
    let mut clients: Vec<_> =
        mine.iter().enumerate().map(|(n, id)| away.session([4, 5][n % 2], id)).collect();
    // Whose home is the second, stays there.
    let other = ids().into_iter().find(|id| !away.ids.contains(id)).unwrap();
    let mut other = away.session(5, &other);
    away.bring_back();
    for (n, client) in clients.iter_mut().enumerate() {
        // A client of 5.0 is told why: Use another server.
        let goodbye: &[u8] = if n % 2 == 1 { b"\xE0\x01\x9C" } else { b"" };
        assert_eq!(client.rest(), (goodbye.to_vec(), Ok(())));
    }
    let ends = wait_for("the records", || {
        let ends = away.ends("rebalance");
        (ends.len() >= mine.len()).then_some(ends)
    });
    assert_eq!(ends.len(), mine.len());
    for line in &ends {
        assert_eq!((&*end(line), &line["upstream"]), ("proxy/relay/rebalance", &"b2".into()));
        let bytes = if line["protocol_version"] == 5 { 5 + 3 } else { 4 };
        assert_eq!(line["bytes_out"], bytes, "{line}");
    }
    // Sessions of one worker are sent home in the order in which they came.
    let order: Vec<_> = ends.iter().map(|line| line["session"].as_str().unwrap()).collect();
    for worker in ["000", "004"] {
        let of_worker: Vec<_> = order.iter().filter(|session| &session[4..7] == worker).collect();
        assert!(of_worker.is_sorted(), "{of_worker:?}");
    }
    for id in &mine {
        drop(away.session(4, id));
        let line = away.proxy.wait_log(id, |line| {
            line["client_id"] == **id && line["upstream"] == "b1" && line["event"] == "disconnect"
        });
        assert_eq!((&line["route"], &line["tries"]), (&"hash".into(), &1.into()));
    }
    other.echo(b"\xC0\x00");
    let labels = &["by=\"proxy\"", "cause=\"rebalance\""];
    assert_eq!(away.proxy.metric("mqtt_lb_session_ends_total", labels) as usize, mine.len());
}

#[test]
fn without_a_rate_they_stay() {
    let mut away = away(&[], Broker::echoing());
    let mut client = away.session(5, &away.ids[0].clone());
    away.bring_back();
    // Another round of ejection and return, to be sure that it has been looked at.
    client.echo(b"\xC0\x00");
    drop(away.session(4, &away.ids[1].clone()));
    assert_eq!(away.proxy.wait_end(&away.ids[1])["upstream"], "b1");
    client.echo(b"\xC0\x00");
    assert!(away.ends("rebalance").is_empty());
}

/// In the middle of a packet there is no place for a DISCONNECT.
#[test]
fn no_goodbye_within_a_packet() {
    let half = &packet(0x30, &[&text("t")[..], b"\x00", b"payload"].concat())[..6];
    let broker = {
        let half = half.to_vec();
        Broker::start(move |mut link: Link| {
            if link.accept().is_some() {
                link.send(&half);
                link.patient();
                link.read_packet();
            }
        })
    };
    let mut away = away(&["rebalance: { rate: 100 }"], broker);
    let mut client = away.session(5, &away.ids[0].clone());
    client.expect(half);
    away.bring_back();
    assert_eq!(client.rest(), (vec![], Ok(())));
}

/// A client that comes again and lands on another broker is not left online at the first.
#[test]
fn a_client_that_has_moved() {
    for version in [4, 5] {
        let mut away = away(&[], Broker::echoing());
        let (id, bystander) = (away.ids[0].clone(), away.ids[1].clone());
        let mut old = away.session(version, &id);
        let mut bystander = away.session(version, &bystander);
        away.bring_back();
        let mut new = away.session(version, &id);
        let goodbye: &[u8] = if version == 5 { b"\xE0\x01\x8E" } else { b"" };
        assert_eq!(old.rest(), (goodbye.to_vec(), Ok(())));
        let line = away.proxy.wait_log("the older one's end", |line| {
            line["client_id"] == *id && line["event"] == "disconnect"
        });
        assert_eq!((&*end(&line), &line["upstream"]), ("proxy/relay/taken_over", &"b2".into()));
        new.echo(b"\xC0\x00");
        bystander.echo(b"\xC0\x00");
        // On the same broker it is the broker that ends the older one.
        let mut newest = away.session(version, &id);
        newest.echo(b"\xC0\x00");
        new.echo(b"\xC0\x00");
        assert_eq!(away.ends("taken_over").len(), 1);
    }
}

/// A client that its new broker refuses keeps the session it has.
#[test]
fn a_client_that_has_not_moved() {
    let mut away = away(&[], Broker::echoing());
    let id = away.ids[0].clone();
    let mut old = away.session(5, &id);
    away.bring_back();
    away.first.stop();
    let listener = TcpListener::bind(away.first.address).unwrap();
    away.first = Broker::start_on(listener, |mut link: Link| {
        if link.read_packet().is_some() {
            link.send(&connack(5, 0x87));
        }
    });
    let connect = Connect::new(5, &id).bytes();
    Client::exchange(away.proxy.address(), &connect, &connack(5, 0x87)).expect_end();
    away.proxy.wait_log("the refusal", |line| line["connack"] == 0x87);
    old.echo(b"\xC0\x00");
    assert!(away.ends("taken_over").is_empty());
}

/// A broker that returns is given its clients little by little.
#[test]
fn slow_start() {
    let mut away_for_long =
        away(&["slow_start: 24h", "rebalance: { rate: 1000 }"], Broker::echoing());
    // The first to meet with its absence.
    drop(away_for_long.session(4, away_for_long.ids.last().unwrap()));
    away_for_long.bring_back();
    let mut staying = away_for_long.session(5, &away_for_long.ids[0].clone());
    for id in &away_for_long.ids[1..20].to_vec() {
        drop(away_for_long.session(4, id));
        let line = away_for_long.proxy.wait_end(id);
        assert_eq!((&line["upstream"], &line["route"]), (&"b2".into(), &"fallback".into()));
        assert_eq!(line["tries"], 1);
    }
    // They are sent home when the broker is warm, and not before.
    staying.echo(b"\xC0\x00");

    let mut away = away(&["slow_start: 300ms", "rebalance: { rate: 1000 }"], Broker::echoing());
    let mut leaving = away.session(5, &away.ids[0].clone());
    away.bring_back();
    assert_eq!(leaving.rest(), (b"\xE0\x01\x9C".to_vec(), Ok(())));
    for id in &away.ids[1..20].to_vec() {
        wait_for("its turn", || {
            drop(away.session(4, id));
            let of_id = |line: &Value| line["client_id"] == **id && line["upstream"] == "b1";
            away.proxy.log().iter().any(of_id).then_some(())
        });
    }
}

/// All its clients are connected elsewhere and none comes by itself: one is sent home as the trial.
#[test]
fn a_broker_that_nobody_asks_for() {
    for rest in ["", ", active: { type: mqtt, interval: 100ms, fall: 1000 }"] {
        let mut first = Broker::echoing();
        let second = Broker::echoing();
        let health = format!("health: {{ passive: {{ failures: 1, eject_for: 100ms }}{rest} }}");
        let rebalance = "rebalance: { rate: 100 }";
        let proxy = Config::of([&first, &second]).pool(&health).pool(rebalance).start();
        let orders = route(&proxy, &[], &ids());
        let mine = ids().into_iter().zip(orders).filter(|(_, order)| order[0] == "b1");
        let mine: Vec<_> = mine.map(|(id, _)| id).take(5).collect();
        first.stop();
        let mut clients: Vec<_> =
            mine.iter().map(|id| Client::session(proxy.address(), id)).collect();
        let listener = TcpListener::bind(first.address).unwrap();
        first = Broker::start_on(listener, echo);
        // Each comes back at once when it is closed, as devices do.
        for (id, client) in mine.iter().zip(&mut clients) {
            for connects in 2.. {
                client.expect_end();
                *client = Client::session(proxy.address(), id);
                let here = |line: &Value| line["client_id"] == **id && line["event"] == "connect";
                let last = wait_for("its connect", || {
                    let mut lines: Vec<_> = proxy.log().into_iter().filter(here).collect();
                    (lines.len() == connects).then(|| lines.pop()).flatten()
                });
                if last["upstream"] == "b1" {
                    break;
                }
            }
        }
        assert_eq!(proxy.metric("mqtt_lb_upstream_up", &[]) as u64, 2);
        drop(first);
    }
}

/// A broker that is away for less time than it takes to be found out: its clients go home too.
#[test]
fn a_short_absence() {
    let mut first = Broker::echoing();
    let second = Broker::echoing();
    let rebalance = "rebalance: { rate: 100 }";
    let proxy = Config::of([&first, &second]).pool(rebalance).start();
    let orders = route(&proxy, &[], &ids());
    let mine = ids().into_iter().zip(orders).filter(|(_, order)| order[0] == "b1");
    let mine: Vec<_> = mine.map(|(id, _)| id).take(4).collect();
    first.stop();
    let mut away: Vec<_> =
        mine[..3].iter().map(|id| Client::session(proxy.address(), id)).collect();
    let listener = TcpListener::bind(first.address).unwrap();
    first = Broker::start_on(listener, echo);
    // The broker is seen to be well by another of its clients.
    let _newcomer = Client::session(proxy.address(), &mine[3]);
    for client in &mut away {
        client.expect_end();
    }
    for id in &mine[..3] {
        let line = proxy.wait_end(id);
        assert_eq!((&*end(&line), &line["upstream"]), ("proxy/relay/rebalance", &"b2".into()));
    }
    drop(first);
}
