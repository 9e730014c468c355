//! Brokers and host names from DNS, as Debian's dnsmasq gives them.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    process::Command,
};

use serde_json::Value;

use crate::{
    broker::{Broker, echo},
    client::{Client, connack, connect},
    config::Config,
    harness::{Proxy, end, run, wait_for},
    name_server::{Dnsmasq, ip},
    routing::{ids, route, route_by, visit},
};

/// A pool whose brokers are looked up ten times a second.
pub(crate) fn discovering(server: SocketAddr, from: &str) -> Config {
    Config::at([""; 0])
        .pool(&format!("discover: {{ {from}, interval: 100ms }}"))
        .more(&format!("dns: {{ servers: [ \"{server}\" ] }}"))
}

/// Brokers at these addresses, all at the same port.
pub(crate) fn brokers_at(addresses: &[IpAddr]) -> (u16, Vec<Broker>) {
    let (port, listeners) = listeners_at(addresses);
    (port, listeners.into_iter().map(|listener| Broker::start_on(listener, echo)).collect())
}

/// Listeners at each address, with one port.
pub(crate) fn listeners_at(addresses: &[IpAddr]) -> (u16, Vec<TcpListener>) {
    let listeners = wait_for("a port that all have free", || {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = addresses[1..].iter().map(|&address| TcpListener::bind((address, port)).ok());
        std::iter::once(Some(first)).chain(others).collect::<Option<Vec<_>>>()
    });
    (listeners[0].local_addr().unwrap().port(), listeners)
}

/// The orders of a configuration that has brokers of these names, and more keys, in it.
pub(crate) fn route_to(proxy: &Proxy, upstreams: &[&str], ids: &[String]) -> Vec<Vec<String>> {
    let mut config = Config::at([""; 0]);
    let upstream = |(n, keys): (usize, &&str)| format!("{{ {keys}, address: \"10.0.0.{n}:1\" }}");
    config.upstreams = upstreams.iter().enumerate().map(upstream).collect();
    let file = proxy.path("static.yaml");
    fs::write(&file, config.text()).unwrap();
    route_by(file.to_str().unwrap(), &[], ids)
}

pub(crate) fn changes(proxy: &Proxy, change: &str) -> usize {
    let label = format!("change=\"{change}\"");
    proxy.metric("mqtt_lb_discovery_changes_total", &[&label]) as usize
}

#[track_caller]
pub(crate) fn wait_changes(proxy: &Proxy, change: &str, count: usize) {
    wait_for(&format!("{count} brokers {change}"), || {
        (changes(proxy, change) >= count).then_some(())
    });
    assert_eq!(changes(proxy, change), count, "{change}");
}

/// Every client is on the first broker of its order.
#[track_caller]
pub(crate) fn assert_homes(
    visits: &HashMap<String, Value>,
    ids: &[String],
    orders: &[Vec<String>],
) {
    for (id, order) in ids.iter().zip(orders) {
        let line = &visits[id];
        assert_eq!(line["upstream"], order[0], "{id}");
        assert_eq!((&line["route"], &line["tries"]), (&"hash".into(), &1.into()), "{id}");
    }
}

#[test]
fn services() {
    let mut brokers: [Broker; 4] = std::array::from_fn(|_| Broker::echoing());
    let ports = brokers.each_ref().map(|broker| broker.address.port());
    let service = |target: &str, port: u16, rest: &str| {
        format!("srv-host=_mqtt._tcp.x.test,{target}.x.test,{port},{rest}")
    };
    let records = [
        service("three", ports[2], "1,3"),
        service("one", ports[0], "1,5"),
        service("spare", ports[3], "7,9"),
        // The case of a name means nothing; a weight of 0 is the least one.
        service("TWO", ports[1], "1,0"),
    ];
    let records = records.each_ref().map(|record| &**record);
    let hosts = ["127.0.0.1 one.x.test two.x.test three.x.test spare.x.test"];
    let server = Dnsmasq::start(&records, &hosts);
    let config = discovering(server.address, "dns: _mqtt._tcp.x.test").pool("tries: 5");
    let proxy = config.workers(2).start();
    wait_changes(&proxy, "added", 4);

    let ids = ids();
    let orders = route(&proxy, &[], &ids);
    let same = [
        "name: one.x.test, weight: 5",
        "name: two.x.test",
        "name: three.x.test, weight: 3",
        "name: spare.x.test, backup: true",
    ];
    assert_eq!(orders, route_to(&proxy, &same, &ids));
    let visits = visit(&proxy, &ids);
    assert_homes(&visits, &ids, &orders);
    let names = ["one.x.test", "two.x.test", "three.x.test", "spare.x.test"];
    for (name, broker) in names.iter().zip(&brokers) {
        let theirs: Vec<_> = visits.values().filter(|line| line["upstream"] == **name).collect();
        assert_eq!(theirs.len(), broker.connections(), "{name}");
        for line in theirs {
            assert_eq!(line["upstream_address"], broker.address.to_string());
        }
    }
    let [one, two, three, spare] = brokers.each_ref().map(Broker::connections);
    assert!(one > three && three > two && two > 0 && spare == 0, "{one} {two} {three} {spare}");

    brokers[..3].iter_mut().for_each(Broker::stop);
    for (id, line) in visit(&proxy, &ids[..20]) {
        assert_eq!(line["upstream"], "spare.x.test", "{id}");
    }
}

/// Where DNS has records of the brokers' hosts for another service alone.
#[test]
fn services_at_a_port_of_our_own() {
    let addresses = ["127.0.0.11", "127.0.0.12"].map(|address| address.parse().unwrap());
    let (port, brokers) = brokers_at(&addresses);
    // Two ports of a host are one broker, then.
    let records = ["one,4370", "two,4370", "one,5370"]
        .map(|service| format!("srv-host=_ekka._tcp.x.test,{}", service.replace(',', ".x.test,")));
    let records = records.each_ref().map(|record| &**record);
    let server = Dnsmasq::start(&records, &["127.0.0.11 one.x.test", "127.0.0.12 two.x.test"]);
    let from = format!("dns: _ekka._tcp.x.test, port: {port}");
    let proxy = discovering(server.address, &from).start();
    wait_changes(&proxy, "added", 2);
    let (ids, seen) = (ids(), ["one.x.test", "two.x.test"]);
    let visits = visit(&proxy, &ids);
    for (name, broker) in seen.iter().zip(&brokers) {
        let theirs = visits.values().filter(|line| line["upstream"] == **name).count();
        assert!(theirs > 0);
        assert_eq!(theirs, broker.connections(), "{name}");
    }
}

/// What a restarted pod does in a headless service.
#[test]
fn a_new_address_moves_no_key() {
    let (port, brokers) = brokers_at(&[1, 2, 3, 9].map(|n| ip(2, n).into()));
    let records = [1, 2, 3].map(|n| format!("srv-host=x.test,b{n}.x.test,{port}"));
    let records = records.each_ref().map(|record| &**record);
    let hosts = |second: u8| {
        [(1, 1), (2, second), (3, 3)].map(|(n, last)| format!("{} b{n}.x.test", ip(2, last)))
    };
    let server = Dnsmasq::start(&records, &hosts(2).each_ref().map(|host| &**host));
    let proxy = discovering(server.address, "dns: x.test").start();
    let ids = ids();
    let orders = route(&proxy, &[], &ids);
    assert_homes(&visit(&proxy, &ids), &ids, &orders);
    let home = |n: usize| orders.iter().filter(|order| order[0] == format!("b{n}.x.test")).count();
    let visitors = || brokers.iter().map(Broker::connections).collect::<Vec<_>>();
    assert_eq!(visitors(), [home(1), home(2), home(3), 0]);

    server.set_hosts(&hosts(9).each_ref().map(|host| &**host));
    wait_changes(&proxy, "changed", 1);
    assert_eq!(route(&proxy, &[], &ids), orders);
    let visits = visit(&proxy, &ids);
    assert_homes(&visits, &ids, &orders);
    assert_eq!(visitors(), [2 * home(1), home(2), 2 * home(3), home(2)]);
    let address = SocketAddr::new(ip(2, 9).into(), port).to_string();
    let there = visits.values().filter(|line| line["upstream_address"] == address);
    assert_eq!(there.count(), home(2));
    assert_eq!((changes(&proxy, "added"), changes(&proxy, "removed")), (3, 0));
    proxy.wait_stderr("moved=\"b2.x.test\"");
}

#[test]
fn brokers_come_and_go() {
    let brokers: [Broker; 4] = std::array::from_fn(|_| Broker::echoing());
    let service =
        |n: usize| format!("srv-host=x.test,b{n}.x.test,{}", brokers[n - 1].address.port());
    let records: Vec<_> = (1..=4).map(service).collect();
    let records: Vec<_> = records.iter().map(String::as_str).collect();
    let hosts = ["127.0.0.1 b1.x.test b2.x.test b3.x.test b4.x.test"];
    let mut server = Dnsmasq::start(&records[..3], &hosts);
    let proxy = discovering(server.address, "dns: x.test").start();
    let ids = ids();
    let names = ["name: b1.x.test", "name: b2.x.test", "name: b3.x.test", "name: b4.x.test"];
    let [first, all, last] =
        [&names[..3], &names, &names[1..]].map(|names| route_to(&proxy, names, &ids));
    let moved = |from: &[Vec<String>], to: &[Vec<String>]| -> Vec<(String, String)> {
        let pairs = from.iter().zip(to).filter(|(from, to)| from[0] != to[0]);
        pairs.map(|(from, to)| (from[0].clone(), to[0].clone())).collect()
    };
    assert_homes(&visit(&proxy, &ids), &ids, &first);
    // Not one of those who come again, who would end it.
    let other_ids: Vec<_> = (0..50).map(|n| format!("staying-{n}")).collect();
    let other_homes = route_to(&proxy, &names[..3], &other_ids);
    let on_first = other_homes.iter().position(|order| order[0] == "b1.x.test").unwrap();
    let mut staying = Client::session(proxy.address(), &other_ids[on_first]);

    // The new one takes its own clients from all, and nothing else happens.
    server.restart(&records);
    wait_changes(&proxy, "added", 4);
    assert_homes(&visit(&proxy, &ids), &ids, &all);
    let to_new = moved(&first, &all);
    assert!(to_new.len() > 20 && to_new.iter().all(|(_, to)| to == "b4.x.test"), "{to_new:?}");
    route_to(&proxy, &names[1..], &ids);
    let file = proxy.path("static.yaml");
    let args = ["--against", file.to_str().unwrap(), "--json", "-"];
    let output =
        run(&[&["route", "-c", &proxy.config_file()], &args[..]].concat(), &ids.join("\n"));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let to_move = moved(&all, &last).len();
    assert_eq!((&told["ids"], &told["moved"]), (&ids.len().into(), &to_move.into()));

    // The one that goes leaves its own to the others; who is on it may stay.
    server.restart(&records[1..]);
    wait_changes(&proxy, "removed", 1);
    assert_homes(&visit(&proxy, &ids), &ids, &last);
    let from_gone = moved(&all, &last);
    assert!(from_gone.len() > 20 && from_gone.iter().all(|(from, _)| from == "b1.x.test"));
    staying.echo(b"\xC0\x00");
    let series = |name: &str| proxy.get("/metrics").matches(&format!("\"{name}.x.test\"")).count();
    assert_eq!(proxy.metric("mqtt_lb_upstream_sessions_active", &["\"b1.x.test\""]) as u64, 1);
    // Nothing is left of it once its last client is gone.
    drop(staying);
    wait_for("its metrics to go", || (series("b1") == 0).then_some(()));
    assert!(series("b2") > 10);
    assert_eq!(changes(&proxy, "changed"), 0);
}

#[test]
fn plain_addresses() {
    let v4 = |n| IpAddr::from(ip(4, n));
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    let (port, brokers) = brokers_at(&[v4(1), v4(2), v4(10), v6]);
    let host = |address: &IpAddr| format!("{address} Pods.x.test");
    let hosts = [v4(10), v6, v4(2), v4(1)].each_ref().map(host);
    let hosts = hosts.each_ref().map(|host| &**host);
    let server = Dnsmasq::start(&[], &hosts);
    let proxy =
        discovering(server.address, &format!("dns: pods.x.test, type: a, port: {port}")).start();
    let ids = ids();
    let expected = |count| {
        let names = (1..=count).map(|n| format!("name: \"pods.x.test#{n}\"")).collect::<Vec<_>>();
        route_to(&proxy, &names.iter().map(String::as_str).collect::<Vec<_>>(), &ids)
    };
    let check = |brokers: &[&Broker]| {
        let orders = expected(brokers.len());
        assert_eq!(route(&proxy, &[], &ids), orders);
        let visits = visit(&proxy, &ids);
        assert_homes(&visits, &ids, &orders);
        for line in visits.values() {
            let name = line["upstream"].as_str().unwrap();
            let n: usize = name.rsplit_once('#').unwrap().1.parse().unwrap();
            assert_eq!(line["upstream_address"], brokers[n - 1].address.to_string());
        }
    };
    let [one, two, ten, six] = &*brokers else { panic!() };
    // By number, not by letter, and IPv4 first.
    check(&[one, two, ten, six]);
    server.set_hosts(&[hosts[1], hosts[2], hosts[0]]);
    wait_changes(&proxy, "removed", 1);
    check(&[two, ten, six]);
    assert_eq!((changes(&proxy, "added"), changes(&proxy, "changed")), (4, 3));
}

#[test]
fn names_of_the_configuration() {
    let (port, brokers) = brokers_at(&[1, 2].map(|n| ip(8, n).into()));
    let host = |n| format!("{} broker.x.test", ip(8, n));
    let server = Dnsmasq::start(&[], &[&host(1)]);
    let dns = format!("dns: {{ servers: [ \"{}\" ] }}", server.address);
    let proxy = Config::at([format!("broker.x.test:{port}")]).more(&dns).start();
    proxy.wait_stderr(&format!("address={}", brokers[0].address));
    drop(Client::session(proxy.address(), "early"));
    assert_eq!(proxy.wait_end("early")["upstream_address"], brokers[0].address.to_string());
    server.set_hosts(&[&host(2)]);
    proxy.wait_stderr(&format!("address={}", brokers[1].address));
    drop(Client::session(proxy.address(), "late"));
    let line = proxy.wait_end("late");
    assert_eq!(line["upstream"], "b1");
    assert_eq!(line["upstream_address"], brokers[1].address.to_string());
    assert_eq!([&brokers[0], &brokers[1]].map(Broker::connections), [1, 1]);
}

#[test]
fn dns_is_away_at_the_start() {
    let [known, found]: [Broker; 2] = std::array::from_fn(|_| Broker::echoing());
    let record = format!("srv-host=x.test,found.x.test,{}", found.address.port());
    let mut server = Dnsmasq::start(&[], &["127.0.0.1 found.x.test"]);
    server.stop();
    let mut config = discovering(server.address, "dns: x.test");
    let proxy = config.start();
    config.upstreams = vec![format!("{{ name: known, address: \"{}\" }}", known.address)];
    let with_one = config.start();
    for (version, code) in [(4, 3), (5, 0x88)] {
        let id = format!("v{version}");
        Client::exchange(proxy.address(), &connect(version, &id), &connack(version, code))
            .expect_end();
        let line = proxy.wait_end(&id);
        assert_eq!(end(&line), "proxy/dial/no_upstream");
        assert_eq!(line["detail"], "no broker has been discovered yet");
    }
    assert!(proxy.get("/readyz").starts_with("HTTP/1.1 503"));
    drop(Client::session(with_one.address(), "early"));
    assert_eq!(with_one.wait_end("early")["upstream"], "known");

    server.restart(&[&record]);
    for proxy in [&proxy, &with_one] {
        wait_changes(proxy, "added", 1);
    }
    assert!(proxy.get("/readyz").starts_with("HTTP/1.1 200"));
    drop(Client::session(proxy.address(), "late"));
    assert_eq!(proxy.wait_end("late")["upstream"], "found.x.test");
    let ids = &ids()[..50];
    let orders = route_to(&with_one, &["name: known", "name: found.x.test"], ids);
    assert_homes(&visit(&with_one, ids), ids, &orders);

    // And when it is away again, nobody is the worse for it.
    let failed = || with_one.metric("mqtt_lb_discovery_lookups_total", &["outcome=\"failed\""]);
    let before = failed();
    server.stop();
    wait_for("a look-up that fails", || (failed() > before).then_some(()));
    assert_homes(&visit(&with_one, ids), ids, &orders);
    assert_eq!((changes(&with_one, "added"), changes(&with_one, "removed")), (1, 0));
}

#[test]
fn route_asks_dns_and_check_does_not() {
    let mut server = Dnsmasq::start(&["srv-host=x.test,b.x.test,1883"], &["10.0.0.1 b.x.test"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    fs::write(&file, discovering(server.address, "dns: x.test").text()).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(route_by(file, &[], &["id".to_owned()]), [["b.x.test"]]);
    server.restart(&[]);
    let output = run(&["route", "-c", file, "id"], "");
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
    let said = String::from_utf8(output.stderr).unwrap();
    let wanted =
        format!("{file}: cannot discover the brokers of x.test: there are no such records");
    assert_eq!(said, format!("mqtt-lb route: {wanted}\n"));
    server.stop();
    let output = run(&["check", "-c", file], "");
    assert!(output.status.success(), "{output:?}");
}

/// The system's own files, in a namespace where they are the test's.
#[test]
fn the_systems_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("resolv.conf", "nameserver 127.0.0.1\nsearch a.test b.test\noptions ndots:2\n");
    write("hosts", "10.9.9.9 listed.example\n");
    for (name, from) in [
        // Found in the second domain, as it has fewer than two dots.
        ("searched", "dns: mqtt"),
        ("whole", "dns: mqtt.b.test."),
        ("listed", "dns: listed.example, type: a, port: 1883"),
    ] {
        let text = discovering("127.0.0.1:9".parse().unwrap(), from).text();
        let text: String = text
            .lines()
            .filter(|line| !line.starts_with("dns:"))
            .flat_map(|line| [line, "\n"])
            .collect();
        write(&format!("{name}.yaml"), &text);
    }
    let script = r#"
        set -e
        cd "$1"
        ip link set lo up
        mount --bind resolv.conf /etc/resolv.conf
        mount --bind hosts /etc/hosts
        dnsmasq --conf-file=/dev/null --no-daemon --no-resolv --no-hosts --pid-file= \
            --bind-interfaces --listen-address=127.0.0.1 --local=/test/ \
            --srv-host=mqtt.b.test,broker.b.test,1883 --host-record=broker.b.test,10.0.0.1 &
        trap 'kill %1' EXIT
        for try in {1..500}; do
            if (: </dev/tcp/127.0.0.1/53) 2>/dev/null; then break; fi
            sleep 0.01
        done
        for name in searched whole listed; do "$0" route -c $name.yaml id; done
    "#;
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--map-root-user"])
        .args(["bash", "-c", script, env!("CARGO_BIN_EXE_mqtt-lb")])
        .arg(dir.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(
        text(&output.stdout),
        "id\tbroker.b.test\nid\tbroker.b.test\nid\tlisted.example#1\n",
        "{}",
        text(&output.stderr)
    );
}
