//! The local addresses that brokers are dialled from, and the ports in use there.

use std::{
    net::{IpAddr, TcpListener},
    os::unix::net::UnixListener,
    sync::{Arc, Mutex},
};

use crate::{
    broker::{Broker, Link, echo},
    client::{Client, connack, connect},
    config::Config,
    harness::{Proxy, end, wait_for},
    health::{CHECKS, UP, assert_all, is_probe, patient},
};

const PORTS: &str = "mqtt_lb_upstream_ports_active";
const TRIES: &str = "mqtt_lb_upstream_tries_total";

/// Of TEST-NET-1 (RFC 5737), which no host has.
const ELSEWHERE: &str = "192.0.2.1";

/// Where connections came from, in their order, and whether they were probes.
type Peers = Arc<Mutex<Vec<(IpAddr, bool)>>>;

/// A broker that echoes, and notes where its clients come from.
fn noting(listener: TcpListener) -> (Broker, Peers) {
    let peers = Peers::default();
    let noted = peers.clone();
    let broker = Broker::start_on(listener, move |mut link: Link| {
        let Some(packet) = link.read_packet() else { return };
        let peer = link.stream.peer_addr().unwrap().ip();
        noted.lock().unwrap().push((peer, is_probe(&packet)));
        crate::broker::echo_to(link, &packet);
    });
    (broker, peers)
}

fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn addresses(peers: &Peers) -> Vec<String> {
    peers.lock().unwrap().iter().map(|(peer, _)| peer.to_string()).collect()
}

/// The ports in use towards `upstream`, by local address.
fn ports(proxy: &Proxy, upstream: &str) -> Vec<(String, u32)> {
    let answer = proxy.get("/metrics");
    let head = format!("{PORTS}{{pool=\"brokers\",source=\"");
    let tail = format!("\",upstream=\"{upstream}\"}} ");
    let samples = answer.lines().filter_map(|line| line.strip_prefix(&head)?.split_once(&tail));
    samples.map(|(source, ports)| (source.to_owned(), ports.parse().unwrap())).collect()
}

fn in_use<const N: usize>(ports: [(&str, u32); N]) -> Vec<(String, u32)> {
    ports.map(|(source, ports)| (source.to_owned(), ports)).into()
}

fn count(proxy: &Proxy, text: &str) -> usize {
    proxy.stderr().iter().filter(|line| line.contains(text)).count()
}

#[test]
fn they_take_turns() {
    let (broker, peers) = noting(loopback());
    let config = Config::of([&broker]).pool("source_addresses: [ 127.0.0.2, 127.0.0.3 ]");
    let proxy = config.start();
    assert_eq!(ports(&proxy, "b1"), in_use([("127.0.0.2", 0), ("127.0.0.3", 0)]));
    let mut sessions: Vec<_> =
        (0..5).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
    let turns = ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3", "127.0.0.2"];
    assert_eq!(addresses(&peers), turns);
    assert_eq!(ports(&proxy, "b1"), in_use([("127.0.0.2", 3), ("127.0.0.3", 2)]));
    sessions.remove(1).reset();
    sessions.remove(0).finish();
    wait_for("their ports", || {
        (ports(&proxy, "b1") == in_use([("127.0.0.2", 2), ("127.0.0.3", 1)])).then_some(())
    });
    drop(sessions);
    proxy.wait_metric(PORTS, &[], 0.0);
}

/// Each of its workers has its sessions dialled in the same turns.
#[test]
fn all_workers_together_take_turns() {
    let (broker, peers) = noting(loopback());
    let config = Config::of([&broker]).pool("source_addresses: [ 127.0.0.2, 127.0.0.3 ]");
    let proxy = config.workers(2).start();
    let _sessions: Vec<_> =
        (0..20).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
    assert_eq!(ports(&proxy, "b1"), in_use([("127.0.0.2", 10), ("127.0.0.3", 10)]));
    let from = |address: &str| addresses(&peers).iter().filter(|peer| *peer == address).count();
    assert_eq!((from("127.0.0.2"), from("127.0.0.3")), (10, 10));
}

#[test]
fn where_none_is_configured_the_kernels_choice_is_counted() {
    let (broker, peers) = noting(loopback());
    let proxy = Config::of([&broker]).start();
    let session = Client::session(proxy.address(), "c");
    assert_eq!(addresses(&peers), ["127.0.0.1"]);
    assert_eq!(ports(&proxy, "b1"), in_use([("auto", 1)]));
    drop(session);
    proxy.wait_metric(PORTS, &["source=\"auto\""], 0.0);
}

#[test]
fn a_broker_is_dialled_from_addresses_of_its_family() {
    let (v4, v4_peers) = noting(loopback());
    let (v6, v6_peers) = noting(TcpListener::bind("[::1]:0").unwrap());
    let serve = |broker: &Broker, sources: &str| {
        let config = Config::of([broker]).pool(&format!("source_addresses: {sources}"));
        let proxy = config.start();
        let session = Client::session(proxy.address(), "c");
        let ports = ports(&proxy, "b1");
        drop(session);
        ports
    };
    let both = "[ 127.0.0.2, \"::1\", 127.0.0.3 ]";
    assert_eq!(serve(&v4, both), in_use([("127.0.0.2", 1), ("127.0.0.3", 0)]));
    assert_eq!(serve(&v6, both), in_use([("::1", 1)]));
    assert_eq!(serve(&v6, "[ 127.0.0.2 ]"), in_use([("auto", 1)]));
    assert_eq!(addresses(&v4_peers), ["127.0.0.2"]);
    assert_eq!(addresses(&v6_peers), ["::1", "::1"]);
}

/// Which family a host name's addresses are of is not known beforehand.
#[test]
fn a_host_name_has_the_addresses_of_both_families() {
    let (broker, peers) = noting(loopback());
    let address = format!("localhost:{}", broker.address.port());
    // Its IPv6 address comes second, if it has one.
    let proxy = Config::at([address]).pool("source_addresses: [ 127.0.0.2 ]").start();
    let _session = Client::session(proxy.address(), "c");
    assert_eq!(addresses(&peers), ["127.0.0.2"]);
    assert_eq!(ports(&proxy, "b1"), in_use([("127.0.0.2", 1), ("auto", 0)]));
}

#[test]
fn a_unix_socket_has_no_ports() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let proxy = Config::at([format!("unix:{}", path.display())]).start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(4, "c"));
    let _link = listener.accept().unwrap();
    assert_eq!(ports(&proxy, "b1"), []);
}

/// From the connection attempt on, and whatever becomes of it.
#[test]
fn a_port_is_in_use_before_the_broker_has_answered() {
    let broker = Broker::silent();
    let closed = loopback().local_addr().unwrap().to_string();
    let proxy = Config::at([broker.address.to_string(), closed])
        .pool("source_addresses: [ 127.0.0.2 ]")
        .pool("connack_timeout: 500ms")
        .start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(4, "c"));
    broker.wait_connections(1);
    proxy.wait_metric(PORTS, &["upstream=\"b1\""], 1.0);
    client.expect(&connack(4, 3));
    client.expect_end();
    assert_eq!(proxy.wait_end("c")["tries"], 2);
    proxy.wait_metric(PORTS, &[], 0.0);
    assert_eq!(ports(&proxy, "b1"), in_use([("127.0.0.2", 0)]));
    assert_eq!(ports(&proxy, "b2"), in_use([("127.0.0.2", 0)]));
}

#[test]
fn an_address_of_another_host_is_passed_over() {
    let (broker, peers) = noting(loopback());
    let config = Config::of([&broker])
        .pool(&format!("source_addresses: [ {ELSEWHERE}, 127.0.0.3 ]"))
        .pool(&patient("mqtt"));
    let proxy = config.start();
    proxy.wait_stderr(&format!(
        "source_addresses: cannot connect from this address; the others are used pool=brokers \
         source={ELSEWHERE} error=not an address of this host"
    ));
    let _sessions: Vec<_> =
        (0..4).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
    assert_eq!(ports(&proxy, "b1"), in_use([("127.0.0.3", 4), (ELSEWHERE, 0)]));
    wait_for("checks", || (proxy.metric(CHECKS, &["outcome=\"ok\""]) > 1.5).then_some(()));
    assert_all(&proxy, "ok");
    assert!(addresses(&peers).iter().all(|peer| peer == "127.0.0.3"));
    let warnings = proxy.stderr();
    let warnings = warnings
        .iter()
        .filter(|line| line.contains(" WARN ") && !line.contains("descriptor limit"));
    assert_eq!(warnings.count(), 1);
}

/// Nobody was asked, so nothing is held against the broker.
#[test]
fn without_an_address_of_this_host_clients_are_told_so() {
    let broker = Broker::start(echo);
    let config = Config::of([&broker])
        .pool(&format!("source_addresses: [ {ELSEWHERE} ]"))
        .pool("health: { active: { type: mqtt, interval: 100ms }, passive: { failures: 1 } }");
    let proxy = config.start();
    for n in 0..10 {
        let client =
            Client::exchange(proxy.address(), &connect(4, &format!("c{n}")), &connack(4, 3));
        drop(client);
    }
    for line in proxy.wait_ends(10) {
        assert_eq!(end(&line), "proxy/dial/no_upstream");
        assert_eq!(
            line["detail"],
            format!(
                "no local address to reach {} from: this host does not have {ELSEWHERE}; correct \
                 source_addresses of pool brokers",
                broker.address
            )
        );
    }
    proxy.wait_metric(TRIES, &["outcome=\"no_port\""], 10.0);
    wait_for("checks", || (proxy.metric(CHECKS, &["outcome=\"skipped\""]) > 1.5).then_some(()));
    assert_all(&proxy, "skipped");
    assert_eq!(proxy.metric(UP, &[]) as u32, 1);
    assert_eq!(proxy.metric("mqtt_lb_upstream_ejections_total", &[]) as u32, 0);
    assert_eq!(broker.connections(), 0);
    // Ten clients within the five seconds, and the probes' own.
    let told = count(&proxy, "WARN no local address to reach");
    assert!((1..=2).contains(&told), "{told} warnings");
}

#[test]
fn probes_come_from_there_as_well() {
    let (broker, peers) = noting(loopback());
    let config = Config::of([&broker])
        .pool("source_addresses: [ 127.0.0.2, 127.0.0.3 ]")
        .pool(&patient("mqtt"));
    let proxy = config.start();
    let seen = wait_for("four probes", || {
        let peers = peers.lock().unwrap().clone();
        (peers.len() >= 4).then_some(peers)
    });
    assert!(seen.iter().all(|(_, is_probe)| *is_probe));
    let turns = ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"];
    assert_eq!(addresses(&peers)[..4], turns);
    // They come and go, and are not what an operator counts.
    assert_eq!(ports(&proxy, "b1"), in_use([("127.0.0.2", 0), ("127.0.0.3", 0)]));
}
