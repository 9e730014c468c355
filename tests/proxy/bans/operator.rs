//! What the operator bans: refused from then on, its sessions ended, free again afterwards.

use super::{ban, bans, from, logged_bans};
use crate::{
    admin::{
        ctl::{json_of, printed},
        http::ask,
    },
    broker::Broker,
    client::{CONNACK_V3, CONNACK_V5, Client, Connect, connack, connect},
    config::Config,
    harness::{end, wait_for},
};

#[test]
fn an_address_is_closed_without_an_answer() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    let mut held = from(9, proxy.address());
    held.send(&connect(5, "held"));
    held.expect(CONNACK_V5);
    let mut other = from(10, proxy.address());
    other.send(&connect(4, "other"));
    other.expect(CONNACK_V3);

    ban(&proxy, "ip", "127.0.0.9", 600);
    // Its session ends with "administrative action".
    assert_eq!(held.rest(), (b"\xE0\x01\x98".to_vec(), Ok(())));
    assert_eq!(end(&proxy.wait_end("held")), "proxy/relay/banned");
    for _ in 0..3 {
        assert!(from(9, proxy.address()).rest().0.is_empty());
    }
    other.echo(b"\xC0\x00");
    let refused = proxy.wait_log("a refusal", |line| line["event"] == "reject");
    assert_eq!(end(&refused), "proxy/handshake/banned");
    assert!(refused["detail"].as_str().unwrap().starts_with("ip banned until 20"), "{refused}");
    assert_eq!(broker.connections(), 2);
    proxy.wait_metric("mqtt_lb_banned_refused_total", &["kind=\"ip\""], 3.0);
    assert_eq!(bans(&proxy), ["ip 127.0.0.9 operator"]);
    assert_eq!(logged_bans(&proxy, 1), ["ip 127.0.0.9 operator"]);

    assert_eq!(ask(&proxy, "DELETE", "/api/v1/bans?ip=127.0.0.9", "", "").status, 204);
    let mut again = from(9, proxy.address());
    again.send(&connect(4, "again"));
    again.expect(CONNACK_V3);
}

/// A table stays readable; JSON has values whole.
#[test]
fn long_values_are_cut_in_the_table() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let (id, comment) = ("x".repeat(500), "y".repeat(150));
    printed(&proxy, &["ban", "--client-id", &id, "--for", "10m", "--reason", &comment]);
    let table = printed(&proxy, &["bans"]);
    assert!(table.contains(&format!(" {}…  operator ", &id[..60])), "{table}");
    assert!(table.ends_with(&format!(" {}…\n", &comment[..60])), "{table}");
    let ban = &json_of(&proxy, &["bans"])["bans"][0];
    assert_eq!((&ban["value"], &ban["comment"]), (&id.into(), &comment.into()));
}

#[test]
fn client_ids_and_usernames_are_refused_by_the_code_of_the_version() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let as_anna = Connect::new(4, "three").username("anna").bytes();
    let mut of_anna = Client::exchange(proxy.address(), &as_anna, CONNACK_V3);
    let mut stolen = Client::exchange(proxy.address(), &connect(5, "stolen"), CONNACK_V5);
    proxy.wait_connected("stolen");
    ban(&proxy, "client_id", "stolen", 600);
    ban(&proxy, "username", "anna", 600);
    assert_eq!(stolen.rest(), (b"\xE0\x01\x98".to_vec(), Ok(())));
    of_anna.expect_end();
    for (version, code) in [(3, 5), (4, 5), (5, 0x8A)] {
        for bytes in
            [connect(version, "stolen"), Connect::new(version, "new").username("anna").bytes()]
        {
            let mut client = Client::exchange(proxy.address(), &bytes, &connack(version, code));
            client.expect_end();
        }
    }
    let line = wait_for("the refusals", || {
        let mut log = proxy.log();
        log.retain(|line| line["event"] == "reject");
        (log.len() == 6).then(|| log.remove(0))
    });
    assert_eq!((end(&line), &line["connack"]), ("proxy/connect/banned".to_owned(), &5.into()));
    assert_eq!(broker.connections(), 2);
    for kind in ["client_id", "username"] {
        proxy.wait_metric("mqtt_lb_bans_active", &[&format!("kind=\"{kind}\"")], 1.0);
        proxy.wait_metric("mqtt_lb_banned_refused_total", &[&format!("kind=\"{kind}\"")], 3.0);
    }
    let mut other = Client::session(proxy.address(), "other");
    other.echo(b"\xC0\x00");
}

#[test]
fn a_ban_ends_by_itself() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    ban(&proxy, "client_id", "late", 1);
    Client::exchange(proxy.address(), &connect(5, "late"), &connack(5, 0x8A));
    wait_for("the end of the ban", || bans(&proxy).is_empty().then_some(()));
    Client::session(proxy.address(), "late");
    proxy.wait_metric("mqtt_lb_bans_active", &[], 0.0);
    proxy.wait_metric("mqtt_lb_bans_total", &["reason=\"operator\""], 1.0);
}
