//! The brokers, the operator's word on them, and where a client would go.

use serde_json::{Value, json};

use super::http::{ask, get, patch};
use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connack, connect},
    config::Config,
    harness::{Proxy, wait_for},
    routing::{ids, route},
};

const B1: &str = "/api/v1/pools/brokers/upstreams/b1";

fn upstreams(proxy: &Proxy) -> Vec<Value> {
    let pools = get(proxy, "/api/v1/upstreams");
    pools["pools"][0]["upstreams"].as_array().unwrap().clone()
}

#[test]
fn all_that_is_known_of_a_broker() {
    let broker = Broker::echoing();
    let refusing = Broker::start(|mut link| {
        link.read_packet();
        link.send(&connack(4, 5));
    });
    let mut config = Config::of([&broker, &refusing]);
    config.upstreams[0] = format!(
        "{{ name: b1, address: \"localhost:{}\", weight: 3, max_connections: 7 }}",
        broker.address.port()
    );
    config.upstreams[1] =
        format!("{{ name: b2, address: \"{}\", backup: true }}", refusing.address);
    let proxy = config.pool("balance: { algorithm: maglev }").start();
    let mut client = Client::session(proxy.address(), "here");
    client.echo(b"\xC0\x00");
    let mut pools = wait_for("the bytes", || {
        let pools = get(&proxy, "/api/v1/upstreams");
        (pools["pools"][0]["upstreams"][0]["bytes_out"] == 6).then_some(pools)
    });
    // Where this host is known by both families, the one that worked is first.
    let upstream = pools["pools"][0]["upstreams"][0].as_object_mut().unwrap();
    assert_eq!(upstream.remove("resolved"), Some(json!(broker.address.to_string())));
    let others = upstream.remove("other_addresses").unwrap_or_default();
    assert!(others.as_array().is_none_or(|others| others.len() == 1), "{others}");
    assert_eq!(
        pools,
        json!({ "pools": [{
            "name": "brokers", "algorithm": "maglev", "failing_open": false, "serving": true,
            "upstreams": [
                {
                    "name": "b1", "address": format!("localhost:{}", broker.address.port()),
                    "state": "ready", "up": true, "serving": true, "status": "up",
                    "weight": 3, "configured_weight": 3, "backup": false, "max_connections": 7,
                    "discovered": false, "sessions": 1, "connacks": { "accepted": 1 },
                    "tries": { "accepted": 1 },
                    "bytes_in": connect(4, "here").len() + 2, "bytes_out": CONNACK_V3.len() + 2,
                },
                {
                    "name": "b2", "address": refusing.address.to_string(),
                    "state": "ready", "up": true, "serving": true, "status": "up",
                    "weight": 1, "configured_weight": 1, "backup": true, "max_connections": 0,
                    "discovered": false, "sessions": 0, "connacks": {}, "tries": {},
                    "bytes_in": 0, "bytes_out": 0,
                },
            ],
        }] })
    );
    assert_eq!(patch(&proxy, B1, r#"{ "state": "down" }"#).status, 200);
    Client::exchange(proxy.address(), &connect(4, "there"), b"\x20\x02\x00\x05").expect_end();
    let b2 = wait_for("the refusal", || {
        let b2 = upstreams(&proxy).pop().unwrap();
        (b2["sessions"] == 0 && b2["tries"] != json!({})).then_some(b2)
    });
    let counts = (&b2["connacks"], &b2["tries"]);
    assert_eq!(counts, (&json!({ "not_authorized": 1 }), &json!({ "refused": 1 })));
}

#[test]
fn drained_set_down_and_ready_again() {
    let brokers = [Broker::echoing(), Broker::echoing()];
    let proxy = Config::of(&brokers).start();
    let mine = ids().into_iter().zip(route(&proxy, &[], &ids()));
    let id = mine.into_iter().find(|(_, order)| order[0] == "b1").unwrap().0;
    let mut first = Client::session(proxy.address(), &id);
    for (state, status, up) in
        [("drain", "draining", false), ("ready", "up", true), ("down", "set_down", false)]
    {
        let told = patch(&proxy, B1, &json!({ "state": state }).to_string());
        assert_eq!(told.status, 200, "{told:?}");
        let told = told.json();
        for told in [&told, &upstreams(&proxy)[0]] {
            let about = ["state", "status", "up", "serving"].map(|key| told[key].clone());
            assert_eq!(about, [json!(state), json!(status), json!(up), json!(up)]);
        }
        if state == "drain" {
            first.echo(b"\xC0\x00");
            Client::session(proxy.address(), "drained").echo(b"\xC0\x00");
            assert_eq!(proxy.wait_connected("drained")["upstream"], "b2");
        }
    }
    first.expect_end();
    let said = "set by the operator pool=brokers upstream=b1 state=Down";
    let log = get(&proxy, "/api/v1/log");
    let lines = log["lines"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["message"] == said), "{log}");
}

#[test]
fn a_weight_moves_clients_as_a_configured_one_does() {
    let brokers = [Broker::echoing(), Broker::echoing()];
    let config = Config::of(&brokers);
    let proxy = config.start();
    let mut heavy = config.clone();
    heavy.upstreams[0] = heavy.upstreams[0].replace(" }", ", weight: 9 }");
    let heavy = heavy.start();
    let ids: Vec<_> = ids().into_iter().take(20).collect();
    let (before, after) = (route(&proxy, &[], &ids), route(&heavy, &[], &ids));
    assert_ne!(before, after);

    let order = |id: &str| -> Vec<String> {
        let routes = get(&proxy, &format!("/api/v1/route?client_id={id}"));
        let order = routes["pools"][0]["order"].as_array().unwrap().clone();
        order.iter().map(|one| one["upstream"].as_str().unwrap().to_owned()).collect()
    };
    let orders = || ids.iter().map(|id| order(id)).collect::<Vec<_>>();
    assert_eq!(orders(), before);
    let told = patch(&proxy, B1, r#"{ "weight": 9 }"#).json();
    assert_eq!((&told["weight"], &told["configured_weight"]), (&json!(9), &json!(1)));
    assert_eq!(orders(), after);
    for (id, order) in ids.iter().zip(&after) {
        drop(Client::session(proxy.address(), id));
        assert_eq!(proxy.wait_connected(id)["upstream"], *order[0]);
    }
    let told = patch(&proxy, B1, r#"{ "weight": null, "state": "ready" }"#).json();
    assert_eq!((&told["weight"], &told["configured_weight"]), (&json!(1), &json!(1)));
    assert_eq!(orders(), before);
}

#[test]
fn more_weight_than_ketama_takes() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker, &broker]);
    config.upstreams[1] = config.upstreams[1].replace(" }", ", weight: 2 }");
    let proxy = config.pool("balance: { algorithm: ketama }").start();
    let told = patch(&proxy, B1, r#"{ "weight": 65535, "state": "down" }"#);
    assert_eq!(told.status, 400);
    let error = told.error();
    assert!(error.contains("weigh 65537 in sum") && error.contains("up to 65536"), "{error}");
    // Nothing of it was done.
    let b1 = &upstreams(&proxy)[0];
    assert_eq!((&b1["weight"], &b1["state"]), (&json!(1), &json!("ready")));
}

/// What a name may have in it, a path has percent-encoded.
#[test]
fn odd_names() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]);
    let name = "a/b?c%20#ü&[";
    config.upstreams = vec![format!("{{ name: '{name}', address: \"{}\" }}", broker.address)];
    let proxy = Config { ..config }.start();
    let told = patch(
        &proxy,
        "/api/v1/pools/brok%65rs/upstreams/a%2Fb%3Fc%2520%23%C3%BC&%5b",
        r#"{ "weight": 2 }"#,
    );
    assert_eq!((told.status, &told.json()["name"]), (200, &json!(name)));
    let client = Client::session(proxy.address(), "odd");
    proxy.wait_connected("odd");
    let found = get(&proxy, "/api/v1/sessions?upstream=a%2Fb%3Fc%2520%23%C3%BC%26%5B");
    assert_eq!(found["sessions"][0]["upstream"], name);
    drop(client);
    for wrong in ["a/b", "%", "%ff", "a%2fb", ""] {
        let told = patch(&proxy, &format!("/api/v1/pools/brokers/upstreams/{wrong}"), "{}");
        let wanted = if wrong.starts_with('%') { 400 } else { 404 };
        assert_eq!(told.status, wanted, "{wrong}");
    }
}

#[test]
fn where_a_client_would_go_and_is() {
    let brokers = [Broker::echoing(), Broker::echoing(), Broker::echoing()];
    let mut config = Config::of(&brokers);
    config.more.push(format!(
        "  - {{ name: unkeyed, balance: {{ algorithm: round_robin }}, \
         upstreams: [ {{ name: x, address: \"{}\" }} ] }}",
        brokers[0].address
    ));
    // The second pool follows the first.
    let text = config.text();
    let (head, more) = text.split_at(text.find("  - { name: unkeyed").unwrap());
    let proxy = Proxy::start(&head.replace("access_log:", &format!("{more}access_log:")));
    let order = route(&proxy, &["--pool", "brokers"], &["me".to_owned()]).remove(0);
    let _me = Client::session(proxy.address(), "me");
    proxy.wait_connected("me");
    let told = get(&proxy, "/api/v1/route?client_id=me");
    assert_eq!(told["client_id"], "me");
    let (keyed, unkeyed) = (&told["pools"][0], &told["pools"][1]);
    let serving = |name: &String| json!({ "upstream": name, "serving": true });
    assert_eq!(keyed["order"], order.iter().map(serving).collect::<Value>());
    assert_eq!(keyed["goes_to"], *order[0]);
    assert_eq!(keyed["sessions"][0]["upstream"], *order[0]);
    assert_eq!(
        unkeyed,
        &json!({
            "pool": "unkeyed", "order": [], "sessions": [],
            "why": "the pool's algorithm does not use a key",
        })
    );

    let drain = |name: &str| {
        let target = format!("/api/v1/pools/brokers/upstreams/{name}");
        assert_eq!(patch(&proxy, &target, r#"{ "state": "drain" }"#).status, 200);
    };
    drain(&order[0]);
    let told = get(&proxy, "/api/v1/route?client_id=me&pool=brokers");
    assert_eq!(told["pools"].as_array().unwrap().len(), 1);
    assert_eq!(told["pools"][0]["order"][0], json!({ "upstream": order[0], "serving": false }));
    assert_eq!(told["pools"][0]["goes_to"], *order[1]);
    drain(&order[1]);
    drain(&order[2]);
    let told = get(&proxy, "/api/v1/route?client_id=me&pool=brokers");
    assert_eq!(told["pools"][0].get("goes_to"), None);

    for (query, status) in [
        ("", 400),
        ("?client_id=", 200),
        ("?client_id=x&source=10.0.0.1&username=u", 200),
        ("?client_id=x&source=here", 400),
        ("?client_id=x&pool=none", 404),
        ("?client_id=x&colour=blue", 400),
        ("?client_id=x&client_id=y", 400),
    ] {
        let told = ask(&proxy, "GET", &format!("/api/v1/route{query}"), "", "");
        assert_eq!(told.status, status, "{query}");
    }
    Client::exchange(proxy.address(), &connect(4, "x"), b"\x20\x02\x00\x03").expect_end();
    assert_eq!(patch(&proxy, B1, r#"{ "state": "ready" }"#).status, 200);
    Client::exchange(proxy.address(), &connect(4, "x"), CONNACK_V3);
}
