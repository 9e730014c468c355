//! Who is connected, found and sent away.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::http::{ask, get};
use crate::{
    broker::Broker,
    client::{CONNACK_V3, CONNACK_V5, Client, Connect, connect, packet},
    config::Config,
    harness::{Proxy, end, heavy, wait_for},
};

fn found(proxy: &Proxy, query: &str) -> Vec<Value> {
    let page = get(proxy, &format!("/api/v1/sessions?{query}"));
    assert_eq!(page.get("next"), None, "{page}");
    page["sessions"].as_array().unwrap().clone()
}

/// The client IDs, in order.
fn who(sessions: &[Value]) -> Vec<&str> {
    let mut ids: Vec<_> = sessions.iter().map(|one| one["client_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// Waits until so many sessions are recorded: a client has its CONNACK a moment before that.
fn wait_recorded(proxy: &Proxy, count: usize) {
    wait_for(&format!("{count} sessions"), || {
        let log = proxy.log();
        (log.iter().filter(|line| line["event"] == "connect").count() == count).then_some(())
    });
}

#[test]
fn a_session_is_told_whole() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    let connect = Connect::new(4, "dev/1 ü").username("us\"er").keep_alive(7).bytes();
    let mut client = Client::exchange(proxy.address(), &connect, CONNACK_V3);
    client.echo(b"\xC0\x00");
    let line = proxy.wait_connected("dev/1 ü");
    let mut sessions = wait_for("the bytes", || {
        let sessions = found(&proxy, "client_id=dev%2F1+%C3%BC");
        (sessions[0]["bytes_out"] != 4).then_some(sessions)
    });
    assert_eq!(sessions.len(), 1);
    let duration = sessions[0]["duration_s"].take();
    assert!(duration.as_f64().unwrap() > 0.0, "{duration}");
    let since = sessions[0]["connected_at"].take();
    // The line was written once the broker had answered.
    assert!(since.as_str() <= line["time"].as_str(), "{since} {line}");
    let (bytes_in, bytes_out) = (connect.len() + 2, CONNACK_V3.len() + 2);
    assert_eq!(
        sessions[0],
        json!({
            "id": line["session"], "client_id": "dev/1 ü", "username": "us\"er",
            "listener": "mqtt", "transport": "tcp",
            "client": client.stream.local_addr().unwrap().to_string(),
            "protocol_version": 4, "pool": "brokers", "upstream": "b1",
            "connected_at": null, "duration_s": null, "keepalive": 7, "clean_start": true,
            "bytes_in": bytes_in, "bytes_out": bytes_out,
        })
    );
}

#[test]
fn sessions_are_found_by_what_they_have() {
    let brokers = [Broker::echoing(), Broker::echoing()];
    let proxy = Config::of(&brokers).workers(2).another_listener("name: other").start();
    let mut held = Vec::new();
    for n in 0..30 {
        let (id, user) = (format!("c{n}"), ["anna", "bert", ""][n % 3]);
        let connect = Connect::new(4, &id);
        let connect = if user.is_empty() { connect } else { connect.username(user) };
        let listener = ["mqtt", "other"][n % 2];
        let address = proxy.address_of(listener);
        held.push(Client::exchange(address, &connect.bytes(), CONNACK_V3));
        proxy.wait_connected(&id);
    }
    let log = proxy.log();
    let wanted = |field: &str, value: &str| -> Vec<String> {
        let has = |line: &&Value| line["event"] == "connect" && line[field] == value;
        let ids = log.iter().filter(has).map(|line| line["client_id"].as_str().unwrap().to_owned());
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(found(&proxy, "").len(), 30);
    for (query, field, value) in [
        ("username=anna", "username", "anna"),
        ("listener=other", "listener", "other"),
        ("upstream=b2", "upstream", "b2"),
        ("pool=brokers", "pool", "brokers"),
        ("client_id=c7", "client_id", "c7"),
    ] {
        let wanted = wanted(field, value);
        assert!(!wanted.is_empty());
        assert_eq!(who(&found(&proxy, query)), wanted, "{query}");
    }
    let both = found(&proxy, "username=bert&listener=mqtt");
    assert_eq!(who(&both), ["c10", "c16", "c22", "c28", "c4"]);
    assert_eq!(found(&proxy, "client_id=c7&username=bert").len(), 1);
    for none in [
        "client_id=c7&username=anna",
        "client_id=c7&listener=mqtt",
        "client_id=c7&pool=none",
        "client_id=C7",
        "client_id=",
        "username=",
        "upstream=b3",
    ] {
        assert_eq!(found(&proxy, none), [Value::Null; 0], "{none}");
    }
    drop(held.swap_remove(7));
    proxy.wait_end("c7");
    assert_eq!(found(&proxy, "client_id=c7"), [Value::Null; 0]);
}

#[test]
fn pages_have_every_session_once() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    let held: Vec<_> = (0..50)
        .map(|n| {
            let connect = Connect::new(4, &format!("c{n}")).username(["a", "b"][n % 2]).bytes();
            Client::exchange(proxy.address(), &connect, CONNACK_V3)
        })
        .collect();
    wait_recorded(&proxy, held.len());
    for (filter, count) in [("", 50usize), ("username=b&", 25)] {
        for limit in [1, 7, 24, 25, 26, 49, 50, 1000] {
            let mut seen = HashSet::new();
            let (mut pages, mut cursor) = (0, String::new());
            loop {
                let target = format!("/api/v1/sessions?{filter}limit={limit}{cursor}");
                let page = get(&proxy, &target);
                pages += 1;
                let sessions = page["sessions"].as_array().unwrap();
                assert!(sessions.len() <= limit);
                for session in sessions {
                    assert!(seen.insert(session["id"].as_str().unwrap().to_owned()));
                }
                let Some(next) = page["next"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!((seen.len(), pages), (count, count.div_ceil(limit)), "{filter} {limit}");
        }
    }
    for (query, status) in [
        ("limit=0", 400),
        ("limit=1001", 400),
        ("limit=-1", 400),
        ("limit=", 400),
        ("cursor=x", 400),
        ("cursor=ffffffffffff", 200),
        ("colour=blue", 400),
        ("client_id=%ff", 400),
    ] {
        let told = ask(&proxy, "GET", &format!("/api/v1/sessions?{query}"), "", "");
        assert_eq!(told.status, status, "{query}");
    }
    drop(held);
}

/// A client without an ID is called as its broker has called it.
#[test]
fn an_assigned_id_is_found_too() {
    let broker = Broker::start(|mut link| {
        link.read_packet();
        // Assigned Client Identifier: 5.0 §3.2.2.3.7.
        let body = [&b"\x00\x00\x0A\x12\x00\x07"[..], b"made-up"].concat();
        link.send(&packet(0x20, &body));
        link.read_packet();
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(5, ""));
    client.expect(b"\x20\x0D\x00\x00\x0A\x12\x00\x07made-up");
    wait_recorded(&proxy, 1);
    let sessions = found(&proxy, "client_id=made-up");
    assert_eq!(sessions.len(), 1);
    let ids = (&sessions[0]["client_id"], &sessions[0]["assigned_client_id"]);
    assert_eq!(ids, (&json!(""), &json!("made-up")));
    assert_eq!(found(&proxy, "client_id=").len(), 1);
}

#[test]
fn who_is_kicked_is_told_and_recorded() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    let mut stays = Client::session(proxy.address(), "stays");
    for (version, answer, goodbye) in
        [(4, CONNACK_V3, &b""[..]), (5, CONNACK_V5, &b"\xE0\x01\x98"[..])]
    {
        let id = format!("v{version}");
        let mut client = Client::exchange(proxy.address(), &connect(version, &id), answer);
        proxy.wait_connected(&id);
        let session = found(&proxy, &format!("client_id={id}"))[0]["id"].clone();
        let target = format!("/api/v1/sessions/{}", session.as_str().unwrap());
        let told = ask(&proxy, "DELETE", &target, "", "");
        assert_eq!((told.status, &*told.body), (204, ""));
        assert_eq!(client.rest(), (goodbye.to_vec(), Ok(())));
        let line = proxy.wait_end(&id);
        assert_eq!((&*end(&line), &line["session"]), ("proxy/relay/kicked", &session));
        assert_eq!(ask(&proxy, "DELETE", &target, "", "").status, 404);
    }
    let kicked = &["by=\"proxy\"", "phase=\"relay\"", "cause=\"kicked\""];
    proxy.wait_metric("mqtt_lb_session_ends_total", kicked, 2.0);
    for none in ["0", "00000000000000000", "000000000000000g", "ffffffffffffffff", "%20"] {
        let told = ask(&proxy, "DELETE", &format!("/api/v1/sessions/{none}"), "", "");
        assert_eq!(told.status, 404, "{none}");
    }
    stays.echo(b"\xC0\x00");
}

/// All that have it are found by it, on whichever worker and broker.
#[test]
fn tenants_that_have_one_client_id() {
    let brokers: [_; 2] = std::array::from_fn(|_| Broker::echoing());
    let key = "balance: { key: \"${username}/${client_id}\" }";
    let proxy = Config::of(&brokers).workers(2).pool(key).start();
    let users: Vec<_> = (0..9).map(|n| format!("tenant-{n}")).collect();
    let mut held: Vec<_> = users
        .iter()
        .map(|user| {
            let connect = Connect::new(4, "gateway").username(user).bytes();
            let mut client = Client::exchange(proxy.address(), &connect, CONNACK_V3);
            // The relay has started, and with it the session's age: the CONNACK is sent before that,
            // and the next client may be served by another worker.
            client.echo(b"\xC0\x00");
            client
        })
        .collect();
    wait_recorded(&proxy, held.len());
    let usernames = |sessions: &[Value]| {
        let username = |one: &Value| one["username"].as_str().unwrap().to_owned();
        sessions.iter().map(username).collect::<Vec<_>>()
    };
    let newest_first: Vec<_> = users.iter().rev().cloned().collect();
    assert_eq!(usernames(&found(&proxy, "client_id=gateway")), newest_first);
    assert_eq!(usernames(&found(&proxy, "client_id=gateway&limit=9")), newest_first);
    assert_eq!(usernames(&found(&proxy, "client_id=gateway&username=tenant-4")), ["tenant-4"]);
    let route = get(&proxy, "/api/v1/route?client_id=gateway");
    let sessions = route["pools"][0]["sessions"].as_array().unwrap();
    assert_eq!(usernames(sessions), newest_first);
    // More than a page holds, which goes on where it ended.
    let page = get(&proxy, "/api/v1/sessions?client_id=gateway&limit=8");
    let next = page["next"].as_str().unwrap();
    let rest = found(&proxy, &format!("client_id=gateway&limit=8&cursor={next}"));
    let mut all = usernames(page["sessions"].as_array().unwrap());
    all.extend(usernames(&rest));
    all.sort_unstable();
    assert_eq!(all, users);
    // Those that have gone are not.
    drop(held.split_off(3));
    proxy.wait_ends(6);
    let left = ["tenant-2", "tenant-1", "tenant-0"];
    assert_eq!(usernames(&found(&proxy, "client_id=gateway")), left);
    for client in &mut held {
        client.echo(b"\xC0\x00");
    }
}

/// More sessions than a worker looks at in one go, on both workers.
#[test]
fn among_thousands() {
    let _heavy = heavy();
    let broker = Broker::start(|mut link| {
        link.accept();
        link.read_packet();
    });
    let proxy = Config::of([&broker]).workers(2).start();
    let held: Vec<_> = (0..1500)
        .map(|n| {
            let id = format!("c{n}");
            let connect = Connect::new(4, &id).keep_alive(0);
            let connect = if n % 500 == 499 { connect.username("rare") } else { connect };
            Client::exchange(proxy.address(), &connect.bytes(), CONNACK_V3)
        })
        .collect();
    wait_recorded(&proxy, held.len());
    assert_eq!(who(&found(&proxy, "username=rare")), ["c1499", "c499", "c999"]);
    assert_eq!(who(&found(&proxy, "client_id=c1234")), ["c1234"]);
    let page = get(&proxy, "/api/v1/sessions?limit=1000");
    assert_eq!(page["sessions"].as_array().unwrap().len(), 1000);
    let next = page["next"].as_str().unwrap();
    let rest = found(&proxy, &format!("limit=1000&cursor={next}"));
    assert_eq!(rest.len(), 500);
    let last = rest.last().unwrap()["id"].as_str().unwrap();
    assert_eq!(ask(&proxy, "DELETE", &format!("/api/v1/sessions/{last}"), "", "").status, 204);
    proxy.wait_ends(1);
    drop(held);
}
