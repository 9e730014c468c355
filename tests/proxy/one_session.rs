//! One device has one session, whatever the brokers know of each other; and no client ends another's.

use std::{
    collections::HashMap,
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::Mutex,
};

use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::{
    broker::{Broker, version},
    client::{CONNACK_V3, Client, Connect, connack, connect},
    config::Config,
    harness::{Proxy, end, wait_for},
    routing::route,
    tls_client::{Pki, TlsClient},
};

const PING: &[u8] = b"\xC0\x00";
const PONG: &[u8] = b"\xD0\x00";

/// A session of 3.1.1 of this user.
#[track_caller]
fn session(proxy: &Proxy, username: &str, id: &str) -> Client {
    let connect = Connect::new(4, id).username(username).bytes();
    Client::exchange(proxy.address(), &connect, CONNACK_V3)
}

#[track_caller]
fn wait_taken_over(proxy: &Proxy, count: usize) -> Vec<Value> {
    wait_for("those taken over", || {
        let ends: Vec<_> =
            proxy.log().into_iter().filter(|line| line["end_by"] == "proxy").collect();
        (ends.len() == count).then_some(ends)
    })
}

/// Those of these users who are given to each broker.
fn homes(proxy: &Proxy, users: &[String], id: &str) -> HashMap<String, Vec<String>> {
    let mut homes = HashMap::<_, Vec<_>>::new();
    for user in users {
        let order = route(proxy, &["--username", user], &[id.to_owned()]);
        homes.entry(order[0][0].clone()).or_default().push(user.clone());
    }
    homes
}

#[test]
fn tenants_with_one_client_id() {
    let mut brokers: [_; 3] = std::array::from_fn(|_| Broker::echoing());
    let config = Config::of(&brokers).workers(2).pool("on_down: keep");
    let by_tenant = config.clone().pool("balance: { key: \"${username}/${client_id}\" }");
    let proxy = by_tenant.start();
    let users: Vec<_> = (0..12).map(|n| format!("tenant-{n}")).collect();
    let homes = homes(&proxy, &users, "gateway");
    assert_eq!(homes.len(), 3, "{homes:?}");
    let mut there: HashMap<_, _> =
        users.iter().map(|user| (user.clone(), session(&proxy, user, "gateway"))).collect();
    // One of them moves, as its home is away: it is that one's older session that ends.
    brokers[1].stop();
    let moving = homes["b2"][0].clone();
    let mut moved = session(&proxy, &moving, "gateway");
    let mut older = there.remove(&moving).unwrap();
    older.expect_end();
    let taken = wait_taken_over(&proxy, 1);
    assert_eq!(end(&taken[0]), "proxy/relay/taken_over");
    assert_eq!((&taken[0]["username"], &taken[0]["upstream"]), (&(*moving).into(), &"b2".into()));
    for client in there.values_mut() {
        client.echo(PING);
    }
    moved.echo(PING);
    // What counts is the key that the pool has when a client comes: by the ID alone, they are all one.
    fs::write(proxy.config_file(), config.text()).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_stderr("reloaded; sessions are kept");
    let mut last = session(&proxy, "somebody", "gateway");
    let home = proxy.wait_log("the last one", |line| {
        line["username"] == "somebody" && line["event"] == "connect"
    })["upstream"]
        .clone();
    let upstream = |line: &Value| line["upstream"] == home;
    let log = proxy.log();
    let connects = log.iter().filter(|line| line["event"] == "connect");
    // The one that has moved was counted twice, and once among those that have ended.
    let same = connects.filter(|line| upstream(line)).count()
        - log.iter().filter(|line| line["event"] == "disconnect" && upstream(line)).count()
        - 1;
    wait_taken_over(&proxy, 1 + users.len() - same);
    last.echo(PING);
    assert!(same > 0 && same < users.len(), "{same}");
}

/// Where they connect to tells tenants apart as well.
#[test]
fn tenants_by_sni() {
    let pki = Pki::new();
    let names: Vec<_> = (0..6).map(|n| format!("t{n}.example")).collect();
    let names_in: Vec<&str> = names.iter().map(String::as_str).collect();
    pki.write_issued("server", &pki.ca.issue(&crate::pki::Leaf::new("server", &names_in)));
    let brokers: [_; 2] = std::array::from_fn(|_| Broker::echoing());
    // One worker, so that turns are taken in one order.
    let proxy = Config::of(&brokers)
        .listener(&pki.tls(""))
        .pool("balance: { key: \"${sni}/${client_id}\", algorithm: round_robin }")
        .start();
    let open = |name: &str| {
        TlsClient::open(&pki.client().config(), proxy.address(), name).session("device")
    };
    let mut first: Vec<_> = names.iter().map(|name| open(name)).collect();
    // Of one tenant one more on the same broker, where an older session is not the proxy's to end,
    // and then one on the other.
    let (mut second, mut third) = (open(&names[0]), open(&names[0]));
    let taken = wait_taken_over(&proxy, 2);
    assert!(taken.iter().all(|line| line["sni"] == names[0]), "{taken:?}");
    for client in &mut first[1..] {
        client.echo(PING);
    }
    let _ = second.rest();
    third.echo(PING);
}

/// A device that has come to another address is the same, even where the address is the key.
#[test]
fn a_device_that_roams() {
    let brokers: [_; 2] = std::array::from_fn(|_| Broker::echoing());
    let proxy = Config::of(&brokers).workers(2).pool("balance: { key: source_ip }").start();
    let from = |last: u8| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        socket.bind(&source.into()).unwrap();
        socket.connect(&proxy.address().into()).unwrap();
        let mut client = Client::on(TcpStream::from(socket));
        client.send(&connect(4, "phone"));
        client.expect(CONNACK_V3);
        client
    };
    let home = |last: u8| {
        let source = format!("127.0.0.{last}");
        route(&proxy, &["--source", &source], &["phone".to_owned()])[0][0].clone()
    };
    let elsewhere = (3..200).find(|last| home(*last) != home(2)).unwrap();
    let mut here = from(2);
    let mut there = from(elsewhere);
    here.expect_end();
    assert_eq!(end(&wait_taken_over(&proxy, 1)[0]), "proxy/relay/taken_over");
    there.echo(PING);
}

/// Ends an older session of an ID before it accepts a newer one, as the standard says, and answers
/// pings.
pub(crate) fn one_a_client() -> Broker {
    let online = Mutex::new(HashMap::<Vec<u8>, TcpStream>::new());
    Broker::start(move |mut link| {
        let Some(connect) = link.read_packet() else { return };
        let version = version(&connect);
        let id = connect[if version == 5 { 13 } else { 12 }..].to_vec();
        {
            let mut online = online.lock().unwrap();
            if let Some(mut older) = online.insert(id, link.stream.try_clone().unwrap()) {
                let _ = older.write_all(if version == 5 { b"\xE0\x01\x8E" } else { b"" });
                let _ = older.shutdown(Shutdown::Both);
            }
            link.send(&connack(version, 0));
        }
        while link.read_packet().is_some_and(|packet| packet == PING) {
            link.send(PONG);
        }
    })
}

/// Whether it is answered.
fn lives(client: &mut Client) -> bool {
    client.stream.set_nonblocking(false).unwrap();
    let _ = client.stream.write_all(PING);
    let mut heard = Vec::new();
    let mut buffer = [0; 64];
    while let Ok(n @ 1..) = client.stream.read(&mut buffer) {
        heard.extend_from_slice(&buffer[..n]);
        if heard.ends_with(PONG) {
            return true;
        }
    }
    false
}

/// Whether its connection has ended. What it hears is not kept.
fn has_ended(client: &mut Client) -> bool {
    client.stream.set_nonblocking(true).unwrap();
    loop {
        match client.stream.read(&mut [0; 64]) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Ok(0) | Err(_) => return true,
        }
    }
}

/// Several CONNECTs of one ID at once, over two workers, two brokers that know nothing of each other,
/// and in any order: one session is left.
#[test]
fn bursts_of_one_client() {
    let brokers: [_; 2] = std::array::from_fn(|_| one_a_client());
    let proxy = Config::of(&brokers).workers(2).pool("balance: { algorithm: round_robin }").start();
    let mut left = Vec::new();
    for burst in 0..60 {
        let id = format!("burst-{burst}");
        let count = [2, 4, 7, 12][burst % 4];
        let version = if burst % 2 == 0 { 4 } else { 5 };
        let mut clients: Vec<_> = (0..count).map(|_| Client::open(proxy.address())).collect();
        for client in &mut clients {
            client.send(&connect(version, &id));
        }
        wait_for(&format!("all but one of {count} sessions of {id} to end"), || {
            clients.retain_mut(|client| !has_ended(client));
            (clients.len() <= 1).then_some(())
        });
        clients.retain_mut(lives);
        assert_eq!(clients.len(), 1, "of {count} sessions of {id}");
        left.append(&mut clients);
    }
    assert!(left.iter_mut().all(lives));
}
