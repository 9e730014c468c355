//! Which clients a rule applies to.

use serde_json::Value;

use super::TwoPools;
use crate::{
    client::{Client, Connect, connack, text},
    harness::{Proxy, rejects},
    pki::Leaf,
    tls_client::{Pki, TlsClient},
};

/// The rule and the pool in the log, for a client that is accepted.
fn routed(proxy: &Proxy, connect: &Connect<'_>) -> (Value, Value) {
    let _client = Client::exchange(proxy.address(), &connect.bytes(), &connack(connect.version, 0));
    let line = proxy.wait_connected(connect.id);
    (line["rule"].clone(), line["pool"].clone())
}

#[test]
fn every_condition_of_a_connect() {
    let pools = TwoPools::new();
    for (n, (when, other, main)) in [
        ("client_id: \"a-*-z\"", Connect::new(4, "a-1-z"), Connect::new(4, "a-1-y")),
        ("client_id: [x, \"y-*\"]", Connect::new(5, "y-"), Connect::new(5, "xy-")),
        (
            "client_id: \"${username}-*\"",
            Connect::new(4, "anna-1").username("anna"),
            Connect::new(4, "anna-2").username("bert"),
        ),
        ("username: \"anna\"", Connect::new(3, "c1").username("anna"), Connect::new(3, "c2")),
        ("protocol_version: 3.1", Connect::new(3, "c3"), Connect::new(4, "c4")),
        ("protocol_version: [3.1.1, 5.0]", Connect::new(5, "c5"), Connect::new(3, "c6")),
        (
            "has_password: true",
            Connect { password: Some("p"), ..Connect::new(5, "c7").username("u") },
            Connect::new(5, "c8").username("u"),
        ),
        (
            "clean_start: true, username: \"u*\"",
            Connect::new(5, "c9").username("u"),
            Connect::new(5, "c10"),
        ),
        (
            "will: true",
            Connect {
                will: Some((0x04, [text("t"), text("m")].concat())),
                ..Connect::new(4, "c11")
            },
            Connect::new(4, "c12"),
        ),
        (
            "source: [\"::/0\", 127.0.0.1], will: false",
            Connect::new(4, "c13"),
            Connect {
                will: Some((0x04, [text("t"), text("m")].concat())),
                ..Connect::new(4, "c14")
            },
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let rule = format!("{{ name: r{n}, when: {{ {when} }}, pool: other }}");
        let proxy = pools.start(&rule);
        assert_eq!(routed(&proxy, &other), (format!("r{n}").into(), "other".into()), "{when}");
        assert_eq!(routed(&proxy, &main), (Value::Null, "brokers".into()), "{when}");
        let labels = ["listener=\"mqtt\"", &format!("rule=\"r{n}\"")];
        proxy.wait_metric("mqtt_lb_rules_total", &labels, 1.0);
    }
    assert_eq!((pools.main.connections(), pools.other.connections()), (10, 10));
}

/// The first rule that holds decides, and one without conditions holds for everybody.
#[test]
fn the_first_rule_that_holds_decides() {
    let pools = TwoPools::new();
    let proxy = pools.start(
        "{ name: one, when: { client_id: \"a*\" }, pool: other },
         { name: two, when: { client_id: \"*b\" }, refuse: not_authorized },
         { name: rest, pool: other }",
    );
    assert_eq!(routed(&proxy, &Connect::new(4, "ab")).0, "one");
    drop(Client::exchange(proxy.address(), &Connect::new(4, "cb").bytes(), &connack(4, 5)));
    assert_eq!(rejects(&proxy, 1)[0]["rule"], "two");
    assert_eq!(routed(&proxy, &Connect::new(4, "c")).0, "rest");
    assert_eq!(pools.main.connections(), 0);
}

/// The host that a client asks for in TLS, in any case.
#[test]
fn by_sni() {
    let pki = Pki::new();
    let names = ["localhost", "a.eu.example"];
    pki.write_issued("server", &pki.ca.issue(&Leaf::new("server", &names)));
    let pools = TwoPools::new();
    let rule = "{ name: eu, when: { sni: \"*.EU.example\" }, pool: other }";
    let proxy = pools.with(rule).listener(&pki.tls("")).start();
    for (id, name, pool) in [
        ("c1", "a.eu.example", "other"),
        ("c2", "A.Eu.Example", "other"),
        ("c3", "localhost", "brokers"),
    ] {
        let mut client = TlsClient::open(&pki.client().config(), proxy.address(), name);
        client.send(&Connect::new(4, id).bytes());
        client.expect(&connack(4, 0));
        assert_eq!(proxy.wait_connected(id)["pool"], pool, "{name}");
    }
}

/// Shares are of the keys of the pool of the listener, and the formula is public.
#[test]
fn a_share_of_the_clients() {
    let pools = TwoPools::new();
    let proxy = pools.start("{ name: canary, when: { percent: 25.5 }, pool: other }");
    let is_in = |id: &str| {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), 0x0070_6572_6365_6e74);
        ((hash >> 32) * 10_000) >> 32 < 2550
    };
    let mut seen = [0, 0];
    for n in 0..40 {
        let id = format!("device-{n}");
        let (rule, pool) = routed(&proxy, &Connect::new([3, 4, 5][n % 3], &id));
        seen[usize::from(is_in(&id))] += 1;
        let wanted: (Value, Value) = if is_in(&id) {
            ("canary".into(), "other".into())
        } else {
            (Value::Null, "brokers".into())
        };
        assert_eq!((rule, pool), wanted, "{id}");
    }
    assert!(seen[0] > 10 && seen[1] > 2, "{seen:?}");
}

/// Rules see the client as its broker will: after the CONNECT was rewritten.
#[test]
fn after_the_rewrite() {
    let pools = TwoPools::new();
    let rewrite = "rewrite: { client_id: \"${listener}/${client_id}\" }";
    let proxy = pools
        .with("{ name: tenant, when: { client_id: \"mqtt/*\" }, pool: other }")
        .listener(rewrite)
        .start();
    assert_eq!(routed(&proxy, &Connect::new(5, "dev")).0, "tenant");
}
