//! Checks of a broker's host with several addresses.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    net::{IpAddr, TcpListener},
    sync::mpsc::channel,
};

use crate::{
    addresses::{HOST, broker_on, config, name_server, upstream, visit},
    broker::{Broker, Link, echo},
    client::connack,
    discovery::{brokers_at, listeners_at},
    harness::{PATIENCE, wait_for},
    health::{client_id, is_probe},
    name_server::ip,
};

/// Checks ask all of them: the broker is up as long as one answers, and it is said once who does not.
#[test]
fn checks_ask_each_address() {
    let [one, two] = [1, 2].map(|n| IpAddr::from(ip(37, n)));
    let (port, mut brokers) = brokers_at(&[one, two]);
    let server = name_server(&[one, two]);
    let check =
        "health: { active: { type: mqtt, interval: 100ms, timeout: 5s, fall: 2, rise: 1 } }";
    let proxy = config(&server, port).pool(check).start();
    let up = |wanted: f64| proxy.wait_metric("mqtt_lb_upstream_up", &[], wanted);
    let said = |part: &str| proxy.stderr().iter().filter(|line| line.contains(part)).count();
    for broker in &brokers {
        broker.wait_connections(2);
    }
    up(1.0);
    let refused = |address| format!("{address}:{port}: cannot connect: Connection refused");
    brokers[0].stop();
    proxy.wait_stderr("up, though some of its addresses fail their checks");
    let before = brokers[1].connections();
    brokers[1].wait_connections(before + 5);
    assert_eq!(said("up, though some of its addresses fail their checks"), 1);
    assert_eq!(said(&refused(one)), 1);
    up(1.0);
    brokers[1].stop();
    proxy.wait_stderr("down: 2 checks have failed");
    up(0.0);
    let line = proxy.stderr().into_iter().find(|line| line.contains("2 checks have failed"));
    let line = line.unwrap();
    assert!(line.contains(&refused(one)) && line.contains(&refused(two)), "{line}");
    let _back = broker_on(one, port, echo);
    proxy.wait_stderr("up: its checks succeed again");
    up(1.0);
}

/// A check by HTTP asks them, too, at its own port.
#[test]
fn http_checks_ask_each_address() {
    let [one, two] = [1, 2].map(|n| IpAddr::from(ip(40, n)));
    let (port, brokers) = brokers_at(&[one, two]);
    let (asked, seen) = channel();
    let web = TcpListener::bind((two, 0)).unwrap();
    let http = web.local_addr().unwrap().port();
    let mut web = Broker::start_on(web, move |mut link: Link| {
        let mut request = [0; 1024];
        let n = link.stream.read(&mut request).unwrap();
        let _ = asked.send(String::from_utf8_lossy(&request[..n]).into_owned());
        link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let server = name_server(&[one, two]);
    let check = format!(
        "health: {{ active: {{ type: http, port: {http}, path: /, interval: 100ms, timeout: 5s, \
         fall: 1, rise: 1 }} }}"
    );
    let proxy = config(&server, port).pool(&check).start();
    let request = seen.recv_timeout(PATIENCE).unwrap();
    assert!(request.contains(&format!("Host: {HOST}:{http}\r\n")), "{request}");
    proxy.wait_stderr("up, though some of its addresses fail their checks");
    proxy.wait_stderr(&format!("{one}:{port}: cannot connect: Connection refused"));
    // Clients are sent where the check succeeds, though both would take them.
    wait_for("the other address to be first", || {
        (upstream(&proxy)["resolved"] == brokers[1].address.to_string()).then_some(())
    });
    visit(&proxy, "sent", brokers[1].address);
    proxy.wait_metric("mqtt_lb_upstream_up", &[], 1.0);
    web.stop();
    proxy.wait_stderr("down: 1 checks have failed");
    proxy.wait_metric("mqtt_lb_upstream_up", &[], 0.0);
}

/// Those of one cluster would take two probes of one name for one client.
#[test]
fn each_address_is_asked_under_a_name_of_its_own() {
    let addresses = [1, 2, 3].map(|n| IpAddr::from(ip(38, n)));
    let (names, seen) = channel();
    let (port, listeners) = listeners_at(&addresses);
    let at_addresses = addresses.into_iter().zip(listeners);
    let broker = |(address, listener)| {
        let names = names.clone();
        Broker::start_on(listener, move |mut link: Link| {
            let Some(packet) = link.read_packet() else { return };
            assert!(is_probe(&packet));
            let _ = names.send((address, client_id(&packet)));
            link.send(&connack(4, 0));
        })
    };
    let _brokers: Vec<_> = at_addresses.map(broker).collect();
    let server = name_server(&addresses);
    let check = "health: { active: { type: mqtt, interval: 100ms, timeout: 5s } }";
    let _proxy = config(&server, port).pool(check).start();
    let mut known = HashMap::new();
    for _ in 0..9 {
        let (address, name) = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!(known.entry(address).or_insert_with(|| name.clone()), &name);
    }
    let names: HashSet<_> = known.values().collect();
    assert_eq!((known.len(), names.len()), (3, 3));
}
