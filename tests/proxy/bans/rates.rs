//! Rates that ban: flapping devices, floods of connections, guessed passwords.

use super::{answer, bans, from, logged_bans};
use crate::{
    broker::{Broker, version},
    client::{CONNACK_V3, CONNACK_V5, Client, Connect, connack, connect},
    config::Config,
    harness::{Proxy, end, wait_for},
    proxy_header::v2,
    tls_client::Pki,
    websocket::client::request_with,
};

/// A broker that refuses usernames other than `good` with the code that is their name, such as `5`.
fn guarded() -> Broker {
    Broker::start(|mut link| {
        let Some(connect) = link.read_packet() else { return };
        let code = match connect.last() {
            Some(digit @ b'0'..=b'9') => digit - b'0',
            _ => 0,
        };
        let code = if version(&connect) == 5 && code > 3 { 0x82 + code } else { code };
        link.send(&connack(version(&connect), code));
        while link.read_packet().is_some() {}
    })
}

/// Waits until an address is banned, or is not.
#[track_caller]
pub(super) fn wait_bans(proxy: &Proxy, wanted: &[&str]) {
    wait_for(&format!("the bans {wanted:?}"), || (bans(proxy) == wanted).then_some(()));
}

#[test]
fn a_flapping_device_is_banned_and_free_again() {
    let broker = Broker::echoing();
    let limits = "limits: { connects_per_client_id: { rate: 1, burst: 5, ban_for: 2s } }";
    let proxy = Config::of([&broker]).workers(2).more(limits).start();
    let mut held = Client::exchange(proxy.address(), &connect(5, "flaps"), CONNACK_V5);
    for _ in 1..5 {
        Client::exchange(proxy.address(), &connect(5, "flaps"), CONNACK_V5);
    }
    let code_of = |id| {
        let mut client = Client::open(proxy.address());
        client.send(&connect(5, id));
        client.rest_of(5)[3]
    };
    // As time passes, a token may have come back.
    let codes: Vec<_> = (0..20).map(|_| code_of("flaps")).collect();
    let first = codes.iter().position(|code| *code != 0).unwrap();
    assert!(first < 5 && codes[first] == 0x9F, "{codes:?}");
    assert!(codes[first + 1..].iter().all(|code| *code == 0x8A), "{codes:?}");
    assert_eq!(held.rest(), (b"\xE0\x01\x98".to_vec(), Ok(())));
    assert_eq!(code_of("other"), 0);
    assert_eq!(logged_bans(&proxy, 1), ["client_id flaps connects_per_client_id"]);
    let line = proxy.wait_log("the ban", |line| line["event"] == "ban");
    assert_eq!((&line["client_id"], &line["listener"]), (&"flaps".into(), &"mqtt".into()));
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.starts_with("client_id flaps banned until "), "{detail}");
    wait_for("the end of the ban", || (code_of("flaps") == 0).then_some(()));
    assert_eq!(broker.connections(), 5 + first + 2);
}

#[test]
fn a_username_beyond_its_rate_is_told_so() {
    let broker = Broker::echoing();
    let limits = "limits: { connects_per_username: { rate: 1, burst: 3 } }";
    let proxy = Config::of([&broker]).more(limits).start();
    let mut codes = Vec::new();
    for number in 0..12 {
        let mut client = Client::open(proxy.address());
        let id = format!("id-{number}");
        client.send(&Connect::new(4, &id).username("anna").bytes());
        codes.push(client.rest_of(4)[3]);
    }
    assert_eq!(codes[..3], [0, 0, 0]);
    let refused: Vec<_> = codes.iter().filter(|code| **code == 3).collect();
    assert!(refused.len() >= 6, "{codes:?}");
    assert!(bans(&proxy).is_empty());
    let line = proxy.wait_log("a refusal", |line| line["event"] == "reject");
    assert_eq!(end(&line), "proxy/connect/limit");
    assert_eq!(line["detail"], "faster than connects_per_username");
}

/// Clients without an ID, and those that are assigned one, are not one client.
#[test]
fn assigned_ids_do_not_count() {
    let broker = Broker::echoing();
    let limits = "limits: { connects_per_client_id: { rate: 1, burst: 1, ban_for: 1m } }";
    for pool in ["", "balance: { empty_client_id: assign }"] {
        let proxy = Config::of([&broker]).pool(pool).more(limits).start();
        for _ in 0..5 {
            Client::exchange(proxy.address(), &connect(4, ""), CONNACK_V3);
        }
        assert!(bans(&proxy).is_empty());
    }
}

#[test]
fn a_flood_of_connections_is_closed_before_a_byte_is_read() {
    let broker = Broker::echoing();
    let limits = "limits: { handshakes_per_ip: { rate: 10, burst: 20, ban_for: 2s } }";
    let proxy = Config::of([&broker]).workers(2).more(limits).start();
    let flood: Vec<_> = (0..300).map(|_| from(9, proxy.address())).collect();
    wait_bans(&proxy, &["ip 127.0.0.9 handshakes_per_ip"]);
    let ends = || proxy.metric("mqtt_lb_session_ends_total", &["phase=\"handshake\""]);
    wait_for("the refusals", || (ends() >= 200.0).then_some(()));
    // Each is counted, and not each is logged.
    let refused = proxy.metric("mqtt_lb_banned_refused_total", &["kind=\"ip\""]);
    let too_fast = proxy.metric("mqtt_lb_rejects_total", &["reason=\"limit\""]);
    assert!(too_fast >= 1.0 && (refused + too_fast - ends()).abs() < 0.5);
    assert_eq!(proxy.metric("mqtt_lb_connections_total", &[]) as u64, 300);
    let lines = proxy.log().iter().filter(|line| line["event"] == "reject").count();
    assert!((1..=2 * 10 * 10).contains(&lines), "{lines}");
    let mut other = from(10, proxy.address());
    other.send(&connect(4, "other"));
    other.expect(CONNACK_V3);
    assert_eq!(broker.connections(), 1);
    drop(flood);
    wait_bans(&proxy, &[]);
    let mut again = from(9, proxy.address());
    again.send(&connect(4, "again"));
    again.expect(CONNACK_V3);
}

/// Codes 4 and 5, 0x86 and 0x87 of brokers count, others do not.
#[test]
fn wrong_passwords_ban_an_address() {
    let broker = guarded();
    let limits = "limits: { bad_credentials_per_ip: { rate: 1, burst: 6, ban_for: 1m } }";
    let proxy = Config::of([&broker]).pool("retry_on: []").more(limits).start();
    let attempt = |last, version, username: &str| {
        let mut client = from(last, proxy.address());
        client.send(&Connect::new(version, "id").username(username).bytes());
        client.rest_of(4)[3]
    };
    for _ in 0..10 {
        assert_eq!(attempt(9, 4, "3"), 3);
        assert_eq!(attempt(9, 4, "good"), 0);
    }
    assert_eq!([attempt(9, 4, "4"), attempt(9, 4, "5"), attempt(9, 3, "5")], [4, 5, 5]);
    assert_eq!([attempt(9, 5, "4"), attempt(9, 5, "5")], [0x86, 0x87]);
    assert!(bans(&proxy).is_empty());
    for _ in 0..6 {
        // A token may have come back meanwhile.
        answer(from(9, proxy.address()), &Connect::new(4, "id").username("5").bytes(), 4);
    }
    wait_bans(&proxy, &["ip 127.0.0.9 bad_credentials_per_ip"]);
    assert_eq!(attempt(10, 4, "5"), 5);
    let line = proxy.wait_log("the ban", |line| line["event"] == "ban");
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.9:"), "{line}");
    assert_eq!(line["username"], "5");
}

/// Refusals by the proxy: `require`, and client certificates that are missing.
#[test]
fn the_proxys_own_refusals_count() {
    let (broker, pki) = (Broker::echoing(), Pki::new());
    let limits = "limits: { bad_credentials_per_ip: { rate: 1, burst: 3, ban_for: 1m } }";
    let banned = ["ip 127.0.0.1 bad_credentials_per_ip"];
    let required =
        Config::of([&broker]).listener("require: [{ client_id: \"mine-*\" }]").more(limits);
    let proxy = required.start();
    for _ in 0..4 {
        answer(Client::open(proxy.address()), &connect(4, "yours"), 4);
    }
    wait_bans(&proxy, &banned);

    let tls = pki.tls(&format!("{}, client_auth: required", pki.file("client_ca", "ca.pem")));
    let proxy = Config::of([&broker]).listener(&tls).more(limits).start();
    wait_for("the ban", || {
        let mut client = pki.client().open(proxy.address());
        // The client learns in its second flight that the proxy wants its certificate.
        while client.stream.conn.complete_io(&mut client.stream.sock).is_ok_and(|io| io != (0, 0)) {
        }
        (bans(&proxy) == banned).then_some(())
    });
    assert_eq!(broker.connections(), 0);
}

/// Without `ban_for`, the address waits for its next attempt.
#[test]
fn failed_logins_without_a_ban() {
    let broker = guarded();
    let limits = "limits: { bad_credentials_per_ip: { rate: 1, burst: 2 } }";
    let proxy = Config::of([&broker]).more(limits).start();
    for _ in 0..2 {
        let mut client = from(9, proxy.address());
        client.send(&Connect::new(4, "id").username("5").bytes());
        client.expect(&connack(4, 5));
    }
    let closed = proxy.wait_log("a closed connection", |line| {
        let _ = from(9, proxy.address()).rest();
        line["detail"] == "more failed logins than bad_credentials_per_ip"
    });
    assert_eq!(end(&closed), "proxy/handshake/limit");
    wait_for("another attempt", || {
        let connect = Connect::new(4, "id").username("good").bytes();
        (answer(from(9, proxy.address()), &connect, 4) == CONNACK_V3).then_some(())
    });
    assert!(bans(&proxy).is_empty());
}

/// The client that a balancer names is banned, and never the balancer.
#[test]
fn a_balancer_is_not_banned_for_its_clients() {
    let broker = guarded();
    let limits = "limits: { bad_credentials_per_ip: { rate: 1, burst: 2, ban_for: 1m } }";
    let proxy = Config::of([&broker])
        .listener("accept_proxy_protocol: { from: [127.0.0.1] }")
        .another_listener("name: ws, websocket: { forwarded_for: [127.0.0.1] }")
        .more(limits)
        .start();
    let header = |ip: &str| v2(&format!("{ip}:5000"), "192.0.2.1:1883", &[]);
    let attempt = |ip: &str, username: &str| {
        let connect = Connect::new(4, "id").username(username).bytes();
        answer(Client::open(proxy.address()), &[header(ip), connect].concat(), 4)
    };
    attempt("198.51.100.7", "5");
    attempt("198.51.100.7", "5");
    wait_bans(&proxy, &["ip 198.51.100.7 bad_credentials_per_ip"]);
    assert!(attempt("198.51.100.7", "good").is_empty());
    assert_eq!(attempt("198.51.100.8", "good"), CONNACK_V3);
    // The same by X-Forwarded-For.
    let asked = |ip: &str| {
        let request = request_with(&format!("X-Forwarded-For: {ip}\r\n"));
        answer(Client::open(proxy.address_of("ws")), request.as_bytes(), 12)
    };
    assert_eq!(asked("198.51.100.8"), b"HTTP/1.1 101");
    let line = proxy.wait_log("a refusal by the header", |line| line["end_cause"] == "banned");
    assert!(line["client"].as_str().unwrap().starts_with("198.51.100.7:"), "{line}");
    asked("198.51.100.7");
    proxy.wait_log("a refusal on the other listener", |line| {
        line["end_cause"] == "banned" && line["listener"] == "ws"
    });
}
