//! A broker's host with several addresses, of which some are dead.

use std::{
    io::Read,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::{
    broker::{Broker, Link, echo},
    client::{Client, connack, connect},
    config::Config,
    discovery::{brokers_at, wait_changes},
    harness::{Proxy, end, wait_for},
    name_server::{NameServer, Record, ip},
};

pub(crate) const HOST: &str = "broker.x.test";

/// A name server that knows these addresses of the broker's host.
pub(crate) fn name_server(addresses: &[IpAddr]) -> NameServer {
    NameServer::start(zone(addresses))
}

pub(crate) fn zone(addresses: &[IpAddr]) -> Vec<Record> {
    addresses.iter().map(|address| Record::address(HOST, *address)).collect()
}

pub(crate) fn config(server: &NameServer, port: u16) -> Config {
    let dns = format!("dns: {{ servers: [ \"{}\" ] }}", server.address);
    Config::at([format!("{HOST}:{port}")]).more(&dns)
}

pub(crate) fn broker_on(address: IpAddr, port: u16, script: fn(Link)) -> Broker {
    Broker::start_on(TcpListener::bind((address, port)).unwrap(), script)
}

/// An address that answers no SYN, as its queue is full. The listener, and who fills it.
fn swallowing(address: IpAddr, port: u16) -> (TcpListener, Vec<TcpStream>) {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(0).unwrap();
    let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let filling = std::iter::from_fn(fill).collect();
    (socket.into(), filling)
}

/// What the API says of the broker `b1`.
pub(crate) fn upstream(proxy: &Proxy) -> Value {
    let answer = proxy.get("/api/v1/upstreams");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str::<Value>(body).unwrap()["pools"][0]["upstreams"][0].take()
}

#[track_caller]
pub(crate) fn visit(proxy: &Proxy, id: &str, address: SocketAddr) {
    drop(Client::session(proxy.address(), id));
    let line = proxy.wait_end(id);
    assert_eq!(line["upstream_address"], address.to_string(), "{line}");
    assert_eq!((&line["upstream"], &line["tries"]), (&"b1".into(), &1.into()));
    assert_eq!(proxy.wait_connected(id)["upstream_address"], address.to_string());
}

#[test]
fn a_closed_port_before_one_that_listens() {
    let [dead, alive] = [1, 2].map(|n| IpAddr::from(ip(30, n)));
    let (port, brokers) = brokers_at(&[alive]);
    let server = name_server(&[dead, alive]);
    let proxy = config(&server, port).start();
    proxy.wait_stderr(" resolved ");
    for n in 0..3 {
        visit(&proxy, &format!("dev-{n}"), brokers[0].address);
    }
    assert_eq!(brokers[0].connections(), 3);
    let now = upstream(&proxy);
    assert_eq!(now["resolved"], brokers[0].address.to_string());
    assert_eq!(now["other_addresses"], serde_json::json!([format!("{dead}:{port}")]));
    let failed = ["outcome=\"connect_failure\""];
    assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", &failed) as u64, 0);
}

/// Nobody is sent a CONNECT but the address that answers, and the ports of all others are free again.
#[test]
fn an_address_that_swallows_syns() {
    let [dead, alive] = [1, 2].map(|n| IpAddr::from(ip(31, n)));
    let (port, brokers) = brokers_at(&[alive]);
    let (listener, filling) = swallowing(dead, port);
    let server = name_server(&[dead, alive]);
    let proxy = config(&server, port).pool("connect_timeout: 20s").start();
    proxy.wait_stderr(" resolved ");
    let mut client = Client::session(proxy.address(), "patient");
    client.echo(b"\xC0\x00");
    let line = proxy.wait_connected("patient");
    assert_eq!(line["upstream_address"], brokers[0].address.to_string());
    let ports = |wanted| proxy.wait_metric("mqtt_lb_upstream_ports_active", &[], wanted);
    ports(1.0);
    drop(client);
    ports(0.0);
    visit(&proxy, "again", brokers[0].address);
    assert_eq!(brokers[0].connections(), 2);
    // The listener that swallows SYNs holds the test's own connections only, which have sent nothing.
    listener.set_nonblocking(true).unwrap();
    let mut accepted = 0;
    drop(filling);
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nonblocking(false).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"");
        accepted += 1;
    }
    assert!(accepted > 0);
}

#[test]
fn both_families() {
    let (v4, v6) = (IpAddr::from(ip(32, 1)), IpAddr::from(Ipv6Addr::LOCALHOST));
    let (port, mut brokers) = brokers_at(&[v4, v6]);
    let server = name_server(&[v4, v6]);
    let proxy = config(&server, port).start();
    proxy.wait_stderr(" resolved ");
    visit(&proxy, "six", brokers[1].address);
    brokers[1].stop();
    visit(&proxy, "four", brokers[0].address);
    // What worked last comes first, though the other one is back.
    let back = broker_on(v6, port, echo);
    visit(&proxy, "still-four", brokers[0].address);
    assert_eq!((brokers[0].connections(), brokers[1].connections(), back.connections()), (2, 1, 0));
    // From addresses of one family alone, that one comes first.
    let proxy = config(&server, port).pool("source_addresses: [ 127.0.0.1 ]").start();
    proxy.wait_stderr(" resolved ");
    visit(&proxy, "of-four", brokers[0].address);
}

/// Of each address it is said what happened, and the client hears of one broker that failed.
#[test]
fn no_address_answers() {
    let [closed, swallows] = [1, 2].map(|n| IpAddr::from(ip(33, n)));
    let (port, mut brokers) = brokers_at(&[closed]);
    let (_listener, _filling) = swallowing(swallows, port);
    brokers[0].stop();
    let server = name_server(&[closed, swallows]);
    let proxy = config(&server, port).pool("connect_timeout: 700ms").start();
    proxy.wait_stderr(" resolved ");
    for (version, code) in [(4, 3), (5, 0x88)] {
        let id = format!("v{version}");
        Client::exchange(proxy.address(), &connect(version, &id), &connack(version, code))
            .expect_end();
        let line = proxy.wait_end(&id);
        assert_eq!(end(&line), "proxy/dial/timeout");
        assert_eq!(
            line["detail"],
            format!(
                "{closed}:{port}: cannot connect: Connection refused (os error 111); \
                 {swallows}:{port}: no connection within 700ms"
            )
        );
        assert_eq!(line["tries"], 1);
    }
    proxy.wait_metric("mqtt_lb_upstream_ports_active", &[], 0.0);
    assert_eq!(
        proxy.metric("mqtt_lb_upstream_tries_total", &["outcome=\"connect_timeout\""]) as u64,
        2
    );
}

/// The header that names the client goes to the address that is used, once.
#[test]
fn a_proxy_header_goes_to_one_address() {
    let [dead, alive] = [1, 2].map(|n| IpAddr::from(ip(34, n)));
    let listener = TcpListener::bind((alive, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (headers, seen) = std::sync::mpsc::channel();
    let broker = Broker::start_on(listener, move |mut link: Link| {
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n") {
            let mut byte = [0];
            link.stream.read_exact(&mut byte).unwrap();
            header.push(byte[0]);
        }
        headers.send(String::from_utf8(header).unwrap()).unwrap();
        echo(link);
    });
    let server = name_server(&[dead, alive]);
    let proxy = config(&server, address.port()).pool("send_proxy_protocol: v1").start();
    proxy.wait_stderr(" resolved ");
    let client = Client::session(proxy.address(), "named");
    let from = client.stream.local_addr().unwrap();
    let header = seen.recv_timeout(crate::harness::PATIENCE).unwrap();
    assert!(header.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{header}");
    assert!(header.contains(&format!(" {} ", from.port())), "{header}");
    assert_eq!(broker.connections(), 1);
}

/// Addresses that come and go leave the one that worked where it is.
#[test]
fn another_answer_of_dns() {
    let [one, two, three] = [1, 2, 3].map(|n| IpAddr::from(ip(35, n)));
    let (port, brokers) = brokers_at(&[one, two, three]);
    let server = name_server(&[two]);
    let proxy = config(&server, port).start();
    proxy.wait_stderr(" resolved ");
    visit(&proxy, "first", brokers[1].address);
    let addresses = || {
        let now = upstream(&proxy);
        let others = now["other_addresses"].as_array().cloned().unwrap_or_default();
        [&[now["resolved"].clone()], &*others].concat()
    };
    let wait = |wanted: &[usize]| {
        let wanted: Vec<Value> =
            wanted.iter().map(|n| brokers[*n].address.to_string().into()).collect();
        wait_for(&format!("{wanted:?}"), || (addresses() == wanted).then_some(()));
    };
    server.know(zone(&[one, two, three]));
    wait(&[1, 0, 2]);
    visit(&proxy, "second", brokers[1].address);
    server.know(zone(&[three, one]));
    wait(&[2, 0]);
    visit(&proxy, "third", brokers[2].address);
}

#[test]
fn a_service_whose_target_has_several_addresses() {
    let [dead, alive] = [1, 2].map(|n| IpAddr::from(ip(36, n)));
    let (port, brokers) = brokers_at(&[alive]);
    let mut known = zone(&[dead, alive]);
    known.push(Record::srv("_mqtt._tcp.x.test", [1, 1, port], HOST));
    let server = NameServer::start(known);
    let dns = format!("dns: {{ servers: [ \"{}\" ] }}", server.address);
    let discover = "discover: { dns: _mqtt._tcp.x.test, interval: 100ms }";
    let proxy = Config::at([""; 0]).pool(discover).more(&dns).start();
    wait_changes(&proxy, "added", 1);
    drop(Client::session(proxy.address(), "served"));
    let line = proxy.wait_end("served");
    assert_eq!(line["upstream"], HOST);
    assert_eq!(line["upstream_address"], brokers[0].address.to_string());
}
