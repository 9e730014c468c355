//! DNS that fails, flaps, or lies.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::{
    broker::Broker,
    client::Client,
    config::Config,
    discovery::{assert_homes, brokers_at, changes, discovering, route_to, wait_changes},
    dns_lies::Script,
    harness::{Proxy, heavy, wait_for},
    name_server::{A, AAAA, NXDOMAIN, NameServer, Query, REFUSED, Record, SERVFAIL, ip},
    routing::{ids, visit},
};

/// Services of these names, on brokers in turn.
fn zone(brokers: &[Broker], names: &[String]) -> Vec<Record> {
    let service = |(n, name): (usize, &String)| {
        let address = brokers[n % brokers.len()].address;
        let target = format!("{name}.x.test");
        [
            Record::srv("x.test", [0, 1, address.port()], &target),
            Record::address(&target, address.ip()),
        ]
    };
    names.iter().enumerate().flat_map(service).collect()
}

fn names(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("b{n}")).collect()
}

/// The same as upstreams of a configuration.
fn as_upstreams(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("name: {name}.x.test")).collect()
}

pub(crate) fn lookups(proxy: &Proxy, pool: &str, outcome: &str) -> usize {
    let labels = [format!("pool=\"{pool}\""), format!("outcome=\"{outcome}\"")];
    let labels = labels.each_ref().map(|label| &**label);
    proxy.metric("mqtt_lb_discovery_lookups_total", &labels) as usize
}

#[track_caller]
fn wait_more_lookups(proxy: &Proxy, pool: &str, outcome: &str, more: usize) {
    let until = lookups(proxy, pool, outcome) + more;
    wait_for(&format!("{more} look-ups of {pool} that are {outcome}"), || {
        (lookups(proxy, pool, outcome) >= until).then_some(())
    });
}

fn lines(proxy: &Proxy, part: &str) -> usize {
    proxy.stderr().iter().filter(|line| line.contains(part)).count()
}

#[test]
fn what_is_no_answer_keeps_the_last_one() {
    let brokers: [Broker; 3] = std::array::from_fn(|_| Broker::echoing());
    let names = names(0..3);
    let good = zone(&brokers, &names);
    let server = NameServer::start(good.clone());
    let proxy = discovering(server.address, "dns: x.test").start();
    let ids = &ids()[..40];
    let upstreams = as_upstreams(&names);
    let upstreams: Vec<_> = upstreams.iter().map(String::as_str).collect();
    let orders = route_to(&proxy, &upstreams, ids);

    let scripts: [(&str, usize, Script); 7] = [
        ("empty", 3, |query| vec![query.answer(NXDOMAIN, &[])]),
        ("empty", 3, |query| vec![query.answer(0, &[])]),
        ("empty", 3, |query| vec![query.answer(0, &[Record::srv("x.test", [0, 0, 0], "")])]),
        ("failed", 3, |query| vec![query.answer(SERVFAIL, &[])]),
        ("failed", 3, |query| vec![query.answer(REFUSED, &[])]),
        ("failed", 3, |query| vec![[&query.id[..], &[0xFF; 40]].concat()]),
        ("failed", 1, |_| vec![]),
    ];
    for (n, (outcome, count, script)) in scripts.into_iter().enumerate() {
        server.say(script);
        wait_more_lookups(&proxy, "brokers", outcome, count);
        assert_homes(&visit(&proxy, ids), ids, &orders);
        // Said once for each kind, however often it is counted.
        let kinds = if n < 3 { 1 } else { 2 };
        assert_eq!(lines(&proxy, "cannot discover brokers"), kinds, "{n}");
    }
    server.know(good);
    proxy.wait_stderr("DNS has brokers again");
    assert_homes(&visit(&proxy, ids), ids, &orders);
    let all = ["added", "removed", "changed"].map(|change| changes(&proxy, change));
    assert_eq!(all, [3, 0, 0]);
}

/// One of the two address families cannot be looked up: nobody is taken for gone who may be there.
#[test]
fn half_an_answer() {
    let (port, brokers) =
        brokers_at(&[ip(5, 1).into(), ip(5, 2).into(), std::net::Ipv6Addr::LOCALHOST.into()]);
    let records: Vec<_> =
        brokers.iter().map(|broker| Record::address("x.test", broker.address.ip())).collect();
    let server = NameServer::start(records.clone());
    let from = format!("dns: x.test, type: a, port: {port}");
    let proxy = discovering(server.address, &from).start();
    wait_changes(&proxy, "added", 3);
    let without = |kind: u16, zone: Vec<Record>| {
        move |query: &Query| match query.kind {
            asked if asked == kind => vec![query.answer(SERVFAIL, &[])],
            _ => vec![query.answer_from(&zone)],
        }
    };
    // There was an IPv6 address: not to know it is not to know the brokers.
    server.say(without(AAAA, records.clone()));
    wait_more_lookups(&proxy, "brokers", "failed", 2);
    assert_eq!(changes(&proxy, "removed"), 0);
    // There was none: a server that chokes on AAAA keeps nobody from the others.
    server.know(records[..2].to_vec());
    wait_changes(&proxy, "removed", 1);
    server.say(without(AAAA, records[..1].to_vec()));
    wait_changes(&proxy, "removed", 2);
    let ids = &ids()[..20];
    for line in visit(&proxy, ids).values() {
        assert_eq!(line["upstream"], "x.test#1");
        assert_eq!(line["upstream_address"], brokers[0].address.to_string());
    }
}

#[test]
fn flapping_under_traffic() {
    let _heavy = heavy();
    let brokers: [Broker; 3] = std::array::from_fn(|_| Broker::echoing());
    let server = NameServer::start(zone(&brokers, &names(0..3)));
    let proxy = discovering(server.address, "dns: x.test").workers(2).start();
    wait_changes(&proxy, "added", 3);
    let ids = ids();
    let mut held: Vec<_> =
        ids[..30].iter().map(|id| Client::session(proxy.address(), id)).collect();
    let series = || proxy.get("/metrics").lines().filter(|line| line.contains("upstream=")).count();
    visit(&proxy, &ids[30..60]);
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &[], 30.0);
    let (series_before, descriptors) = (series(), proxy.descriptors());

    let (done, visitors) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for part in ids[60..100].chunks(20) {
            let (proxy, done, visitors) = (&proxy, &done, &visitors);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    for id in part {
                        Client::session(proxy.address(), id).echo(b"\xC0\x00");
                        visitors.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        // One goes, another comes that was never there and the rest change their addresses; then
        // all is as before.
        for flap in 0..10 {
            server.know(zone(&brokers, &names([1, 0, 100 + flap])));
            wait_changes(&proxy, "removed", 2 * flap + 1);
            server.know(zone(&brokers, &names(0..3)));
            wait_changes(&proxy, "removed", 2 * flap + 2);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!([changes(&proxy, "added"), changes(&proxy, "removed")], [23, 20]);
    assert_eq!(changes(&proxy, "changed"), 40);

    for client in &mut held {
        client.echo(b"\xC0\x00");
    }
    let visitors = visitors.into_inner() + 30;
    assert!(visitors > 100, "{visitors}");
    let ends = proxy.wait_ends(visitors);
    assert_eq!(ends.len(), visitors);
    for line in ends {
        assert_eq!((&line["event"], &line["connack"]), (&"disconnect".into(), &0.into()), "{line}");
    }
    // Nothing is left of what is gone.
    wait_for("the metrics of those that are gone to go", || {
        (series() == series_before).then_some(())
    });
    wait_for("descriptors", || (proxy.descriptors() <= descriptors).then_some(()));
}

#[test]
fn a_hundred_brokers_come_and_go() {
    let _heavy = heavy();
    let brokers: [Broker; 4] = std::array::from_fn(|_| Broker::echoing());
    let server = NameServer::start(zone(&brokers, &names(0..100)));
    let proxy = discovering(server.address, "dns: x.test").workers(2).start();
    wait_changes(&proxy, "added", 100);
    let ids = &ids()[..100];
    let (mut present, mut added, mut removed) = (names(0..100), 100, 0);
    for round in 1..=10 {
        let wanted = names((0..100).filter(|n| (n * 7 + round) % 10 > 3 || round == 10));
        added += wanted.iter().filter(|name| !present.contains(name)).count();
        removed += present.iter().filter(|name| !wanted.contains(name)).count();
        server.know(zone(&brokers, &wanted));
        wait_changes(&proxy, "added", added);
        wait_changes(&proxy, "removed", removed);
        let upstreams = as_upstreams(&wanted);
        let upstreams: Vec<_> = upstreams.iter().map(String::as_str).collect();
        assert_homes(&visit(&proxy, ids), ids, &route_to(&proxy, &upstreams, ids));
        present = wanted;
    }
    assert_eq!(present.len(), 100);
    assert!(added > 200, "{added}");
    assert_eq!(proxy.metric("mqtt_lb_upstream_up", &[]) as usize, 100);
}

/// Round-robin DNS gives the same addresses in another order each time.
#[test]
fn the_order_of_addresses_changes_nothing() {
    let (port, brokers) = brokers_at(&[1, 2].map(|n| ip(6, n).into()));
    let records: Vec<_> =
        brokers.iter().map(|broker| Record::address("x.test", broker.address.ip())).collect();
    let server = NameServer::start(Vec::new());
    let turn = AtomicUsize::new(0);
    server.say(move |query| {
        let mut records = records.clone();
        if query.kind == A {
            records.rotate_left(turn.fetch_add(1, Ordering::SeqCst) % 2);
        }
        vec![query.answer_from(&records)]
    });
    let dns = format!("dns: {{ servers: [ \"{}\" ] }}", server.address);
    let proxy = Config::at([format!("x.test:{port}")]).more(&dns).start();
    server.wait_queries(6);
    let ids = &ids()[..10];
    visit(&proxy, ids);
    assert_eq!([&brokers[0], &brokers[1]].map(Broker::connections), [10, 0]);
    assert_eq!(lines(&proxy, " resolved "), 1);
}

#[test]
fn weights_that_do_not_fit() {
    let broker = Broker::echoing();
    let port = broker.address.port();
    let zone = |weights: [u16; 2]| -> Vec<Record> {
        let service = |(n, weight)| Record::srv("x.test", [0, weight, port], &format!("b{n}.test"));
        let address = |n| Record::address(&format!("b{n}.test"), broker.address.ip());
        weights.into_iter().enumerate().map(service).chain([0, 1].map(address)).collect()
    };
    let server = NameServer::start(zone([1, 2]));
    let ketama = "balance: { algorithm: ketama }";
    let proxy = discovering(server.address, "dns: x.test").pool(ketama).start();
    wait_changes(&proxy, "added", 2);
    server.know(zone([40_000, 30_000]));
    wait_more_lookups(&proxy, "brokers", "failed", 2);
    assert_eq!(changes(&proxy, "changed"), 0);
    assert_eq!(lines(&proxy, "the brokers weigh 70000 in sum"), 1);
    server.know(zone([1, 3]));
    wait_changes(&proxy, "changed", 1);
    proxy.wait_stderr("changed=\"b1.test\"");
}

#[test]
fn names_that_are_none() {
    let broker = Broker::echoing();
    let port = broker.address.port();
    let service = |target: &str| Record::srv("x.test", [0, 1, port], target);
    let good = [service("good.test"), Record::address("good.test", broker.address.ip())];
    let bad = ["a b.test", "a\nb.test", "a\"b.test", "${a}.test", "\u{e9}.test"].map(service);
    let server = NameServer::start([&bad[..], &good].concat());
    let proxy = discovering(server.address, "dns: x.test").start();
    wait_changes(&proxy, "added", 1);
    wait_more_lookups(&proxy, "brokers", "ok", 3);
    assert_eq!(lines(&proxy, "records without a usable target or port are skipped"), 1);
    drop(Client::session(proxy.address(), "id"));
    assert_eq!(proxy.wait_end("id")["upstream"], "good.test");
    // Without a single one that could be used, the last ones stay.
    server.know(bad.to_vec());
    wait_more_lookups(&proxy, "brokers", "failed", 2);
    drop(Client::session(proxy.address(), "other"));
    assert_eq!(proxy.wait_end("other")["upstream"], "good.test");
}
