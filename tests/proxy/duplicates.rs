//! Two devices with one client ID are told apart from a device that reconnects.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::{
    admin::http::get,
    broker::Broker,
    client::{CONNACK_V3, Client, Connect, connack, connect},
    config::Config,
    harness::{Proxy, end, run},
    one_session::one_a_client,
};

/// A session that begins while an older one of its client is open, from 127.0.0.`host`.
#[track_caller]
fn session(proxy: &Proxy, host: u8, connect: &[u8], answer: &[u8]) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
    socket.bind(&source.into()).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    let mut client = Client::on(TcpStream::from(socket));
    client.send(connect);
    client.expect(answer);
    client
}

/// Two devices take a client ID from each other, so many times; returns the ends of the displaced
/// sessions, in order, and the last session.
#[track_caller]
fn fight(proxy: &Proxy, version: u8, id: &str, times: usize) -> (Vec<String>, Client) {
    let connect = Connect::new(version, id).username("pump").bytes();
    let answer = connack(version, 0);
    let mut held = session(proxy, 1, &connect, &answer);
    let mut ends = Vec::new();
    for n in 1..=times {
        let newer = session(proxy, 1 + (n % 2) as u8, &connect, &answer);
        let _ = held.rest();
        drop(std::mem::replace(&mut held, newer));
        ends = ends_of(proxy, id, n);
    }
    (ends, held)
}

/// The ends of this many sessions of a client.
#[track_caller]
fn ends_of(proxy: &Proxy, id: &str, count: usize) -> Vec<String> {
    let is_end = |line: &Value| line["client_id"] == id && line["event"] == "disconnect";
    crate::harness::wait_for(&format!("{count} ends of {id}"), || {
        let log = proxy.log();
        let ends: Vec<_> = log.iter().filter(|line| is_end(line)).map(end).collect();
        (ends.len() == count).then_some(ends)
    })
}

const BY_BROKER: [&str; 2] = ["upstream/relay/closed", "upstream/relay/duplicate"];

#[test]
fn two_devices_with_one_id() {
    let broker = one_a_client();
    let proxy = Config::of([&broker]).workers(2).start();
    let [closed, duplicate] = BY_BROKER;
    let nothing = json!({ "duplicates": [], "evicted": 0 });
    assert_eq!(get(&proxy, "/api/v1/duplicates"), nothing);
    for version in [4, 5] {
        let id = format!("twin-{version}");
        let (ends, _last) = fight(&proxy, version, &id, 6);
        let by_client = |ends: Vec<String>| -> Vec<String> {
            // A client of 5.0 may close first, once it has the broker's DISCONNECT.
            ends.into_iter().map(|end| end.replace("client/", "upstream/")).collect()
        };
        let wanted = [closed, closed, duplicate, duplicate, duplicate, duplicate];
        assert_eq!(by_client(ends), wanted, "{id}");
    }
    proxy.wait_metric("mqtt_lb_duplicate_client_ids_total", &["pool=\"brokers\""], 8.0);
    let duplicates = &["cause=\"duplicate\""];
    assert_eq!(proxy.metric("mqtt_lb_session_ends_total", duplicates) as u64, 8);

    let listed = get(&proxy, "/api/v1/duplicates");
    assert_eq!(listed["evicted"], 0);
    let all = listed["duplicates"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    for (listed, id) in all.iter().zip(["twin-4", "twin-5"]) {
        assert_eq!(listed["client_id"], id);
        assert_eq!((&listed["pool"], &listed["username"]), (&"brokers".into(), &"pump".into()));
        assert_eq!(listed["count"], 4);
        // Of the third to the sixth session: even ones are from the second address.
        assert_eq!(listed["addresses"], json!(["127.0.0.1", "127.0.0.2"]));
        assert!(listed["first"].as_str().unwrap() < listed["last"].as_str().unwrap());
    }
    let output = run(&["ctl", "--admin", &format!("http://{}", proxy.admin()), "duplicates"], "");
    let table = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        ["CLIENT", "ID", "USERNAME", "POOL", "COUNT", "FIRST", "LAST", "ADDRESSES"]
    );
    assert_eq!(lines.len(), 3, "{table}");
    assert_eq!(lines[1][..4], ["twin-4", "pump", "brokers", "4"]);
    assert_eq!(lines[1][6..], ["127.0.0.1", "127.0.0.2"]);
}

/// By its own hand too, where the brokers do not know of each other.
#[test]
fn on_different_brokers() {
    let brokers = [Broker::echoing(), Broker::echoing()];
    // One worker, so that turns are taken in one order.
    let proxy = Config::of(&brokers).pool("balance: { algorithm: round_robin }").start();
    let (ends, _last) = fight(&proxy, 4, "twin", 5);
    let [taken, duplicate] = ["proxy/relay/taken_over", "proxy/relay/duplicate"];
    let wanted = [taken, taken, duplicate, duplicate, duplicate];
    assert_eq!(ends, wanted);
}

/// A reconnect while the older session is open, twice in a minute; brokers that end a client's
/// sessions again and again; clients that leave; tenants with the same ID.
#[test]
fn everyday_ends() {
    let broker = one_a_client();
    let proxy = Config::of([&broker])
        .workers(2)
        .pool("balance: { key: \"${username}/${client_id}\" }")
        .start();
    let [closed, _] = BY_BROKER;
    let (ends, _held) = fight(&proxy, 4, "phone", 2);
    assert_eq!(ends, [closed, closed]);
    // Accepts, and closes at once.
    let restless = Broker::start(|mut link| drop(link.accept()));
    let struck = Config::of([&restless]).workers(2).start();
    for n in 1..=5 {
        Client::session(struck.address(), "struck").expect_end();
        assert_eq!(ends_of(&struck, "struck", n)[n - 1], closed);
    }

    let tenants = [Broker::echoing()];
    let proxy_of_tenants = Config::of(&tenants)
        .workers(2)
        .pool("balance: { key: \"${username}/${client_id}\" }")
        .start();
    let open = |user: &str| {
        let connect = Connect::new(4, "gateway").username(user).bytes();
        Client::exchange(proxy_of_tenants.address(), &connect, CONNACK_V3)
    };
    let held: Vec<_> = (0..8).map(|n| open(&format!("tenant-{n}"))).collect();
    drop(held);
    let ends = ends_of(&proxy_of_tenants, "gateway", 8);
    assert!(ends.iter().all(|end| end == "client/relay/closed"), "{ends:?}");
    for n in 9..=13 {
        drop(open("comes-and-goes"));
        assert_eq!(ends_of(&proxy_of_tenants, "gateway", n)[n - 1], "client/relay/closed");
    }
    for proxy in [&proxy, &struck, &proxy_of_tenants] {
        assert_eq!(get(proxy, "/api/v1/duplicates")["duplicates"], json!([]));
        assert_eq!(proxy.metric("mqtt_lb_duplicate_client_ids_total", &[]) as u64, 0);
    }
}

/// A client that has vanished does not close when its broker does: it is not another device.
#[test]
fn a_device_that_vanishes() {
    let broker = one_a_client();
    let proxy = Config::of([&broker]).more("timeouts: { half_close: 1s }").start();
    let mut held: Vec<_> =
        (0..5).map(|_| Client::exchange(proxy.address(), &connect(4, "van"), CONNACK_V3)).collect();
    let newest = held.pop().unwrap();
    let ends = ends_of(&proxy, "van", 4);
    assert_eq!(ends, ["proxy/relay/timeout"; 4]);
    drop(newest);
    assert_eq!(get(&proxy, "/api/v1/duplicates")["duplicates"], json!([]));
}
