//! Rules that refuse a client, or send it to another server.

use super::TwoPools;
use crate::{
    client::{Client, Connect, connack},
    harness::{end, rejects},
};

#[test]
fn each_refusal_by_the_code_of_the_version() {
    let pools = TwoPools::new();
    for (refusal, v3, v5) in [
        ("banned", 5, 0x8A),
        ("not_authorized", 5, 0x87),
        ("bad_credentials", 4, 0x86),
        ("identifier_rejected", 2, 0x85),
        ("server_unavailable", 3, 0x88),
        ("server_busy", 3, 0x89),
        ("quota_exceeded", 3, 0x97),
    ] {
        let proxy = pools.start(&format!("{{ name: no, refuse: {refusal} }}"));
        for (version, code) in [(3, v3), (4, v3), (5, v5)] {
            let connect = Connect::new(version, "dev").bytes();
            let mut client = Client::exchange(proxy.address(), &connect, &connack(version, code));
            client.expect_end();
        }
        for line in rejects(&proxy, 3) {
            assert_eq!(end(&line), "proxy/connect/refused");
            assert_eq!((&line["rule"], &line["pool"]), (&"no".into(), &"brokers".into()));
            assert_eq!(line["detail"], format!("rule no refuses the client: {refusal}"));
        }
        proxy.wait_metric("mqtt_lb_rules_total", &["rule=\"no\""], 3.0);
    }
    assert_eq!(pools.main.connections() + pools.other.connections(), 0);
}

/// 5.0 §4.13; before 5.0 there is no such code.
#[test]
fn to_another_server() {
    let pools = TwoPools::new();
    let proxy = pools.start("{ name: moved, redirect: \"mqtt.acme.example:8883\" }");
    let mut reference = b"\x20\x1C\x00\x9C\x19\x1C\x00\x16".to_vec();
    reference.extend(b"mqtt.acme.example:8883");
    let small = Connect { properties: b"\x27\x00\x00\x00\x1D", ..Connect::new(5, "small") };
    let large = Connect { properties: b"\x27\x00\x00\x00\x1E", ..Connect::new(5, "large") };
    for (connect, answer) in [
        (Connect::new(3, "a"), connack(3, 3)),
        (Connect::new(4, "b"), connack(4, 3)),
        (Connect::new(5, "c"), reference.clone()),
        (large, reference),
        (small, connack(5, 0x9C)),
    ] {
        let mut client = Client::exchange(proxy.address(), &connect.bytes(), &answer);
        client.expect_end();
        let line = proxy.wait_end(connect.id);
        assert_eq!(line["detail"], "rule moved sends the client to mqtt.acme.example:8883");
        assert_eq!(
            (&*end(&line), &line["bytes_out"]),
            ("proxy/connect/refused", &answer.len().into())
        );
        let code = if connect.version == 5 { 0x9C } else { 3 };
        assert_eq!(line["connack"], code);
    }
}
