//! What wraps a listener's MQTT.

use std::num::NonZeroU32;

use mqtt_lb::testing::config::{PathPattern, WebSocket};

use crate::{faults, good, with};

/// The smallest config with one more entry in its listener, which stands in line 4.
fn in_listener(entry: &str) -> String {
    with("    pool: brokers\n", &format!("    {entry}\n    pool: brokers\n"))
}

fn websocket(keys: &str) -> WebSocket {
    let config = good(&in_listener(&format!("websocket: {keys}")));
    config.listeners[0].websocket.clone().unwrap()
}

fn exact(path: &str) -> PathPattern {
    PathPattern::Exact(path.into())
}

#[test]
fn defaults_of_websocket() {
    assert!(good(&in_listener("websocket:")).listeners[0].websocket.is_none());
    let plain = websocket("{}");
    assert_eq!((plain.paths, plain.origins), (vec![exact("/mqtt")], None));
    for ip in ["127.0.0.1", "10.0.0.1", "::1"] {
        assert!(!plain.forwarded_for.contains(ip.parse().unwrap()));
    }
}

#[test]
fn websocket_keys() {
    let all = websocket(
        "{ path: /, forwarded_for: [10.0.0.0/8, 192.0.2.7, \"fd00::/8\", \"::1\"], \
         origins: [\"https://app.example\", \"http://localhost:8080\", \"http://[::1]:8080\", \
         \"capacitor://localhost\", \"null\"] }",
    );
    assert_eq!(all.paths, [exact("/")]);
    assert_eq!(all.origins.unwrap().len(), 5);
    for (ip, is_trusted) in [
        ("10.255.255.255", true),
        ("::ffff:10.0.0.1", true),
        ("11.0.0.1", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("fdff::1", true),
        ("::1", true),
        ("::2", false),
    ] {
        assert_eq!(all.forwarded_for.contains(ip.parse().unwrap()), is_trusted, "{ip}");
    }
}

#[test]
fn paths_heads_subprotocols_and_pings() {
    let prefix = |path: &str| PathPattern::Prefix(path.into());
    assert_eq!(websocket("{ path: /mqtt/* }").paths, [prefix("/mqtt/")]);
    assert_eq!(websocket("{ path: /* }").paths, [prefix("/")]);
    let paths = websocket("{ paths: [/mqtt, \"/ws/*\", /mqtt/*] }").paths;
    assert_eq!(paths, [exact("/mqtt"), prefix("/ws/"), prefix("/mqtt/")]);
    let plain = websocket("{}");
    assert_eq!((plain.max_head, plain.ping, plain.without_subprotocol), (8192, None, false));
    assert_eq!(plain.subprotocols, ["mqtt".into(), "mqttv3.1".into()]);
    let other = websocket("{ max_head: 64KiB, subprotocols: [none, mqttv5], ping: 30s }");
    assert_eq!((other.max_head, other.ping), (65_536, NonZeroU32::new(30)));
    assert_eq!((other.subprotocols, other.without_subprotocol), (vec!["mqttv5".into()], true));
    assert_eq!(websocket("{ ping: 1500ms }").ping, NonZeroU32::new(2));
    assert!(websocket("{ subprotocols: [none] }").subprotocols.is_empty());
}

/// What clients of a listener with these entries may speak.
fn protocols(entries: &str) -> (bool, bool) {
    let listener = &good(&in_listener(entries)).listeners[0];
    (listener.mqtt, listener.websocket.is_some())
}

#[test]
fn protocols_of_a_listener() {
    let section = "\n    websocket: {}";
    for (list, without, with) in [
        ("~", (true, false), (false, true)),
        ("[websocket]", (false, true), (false, true)),
        ("[mqtt, websocket]", (true, true), (true, true)),
        ("[websocket, mqtt]", (true, true), (true, true)),
    ] {
        let entry = format!("protocols: {list}");
        assert_eq!(protocols(&entry), without, "{list}");
        assert_eq!(protocols(&(entry + section)), with, "{list}");
    }
    assert_eq!(protocols("protocols: [mqtt]"), (true, false));
    for (entries, wanted) in [
        (
            "protocols: []",
            "4:16: listeners[0].protocols: is an empty list; allowed: one entry or more",
        ),
        ("protocols: mqtt", "4:16: listeners[0].protocols: is a single value; allowed: a list"),
        (
            "protocols: [mqtt, ws]",
            "4:23: listeners[0].protocols[1]: \"ws\" is unknown; allowed: mqtt, websocket",
        ),
        (
            "protocols: [mqtt, mqtt]",
            "4:23: listeners[0].protocols[1]: is listed twice; allowed: each entry once",
        ),
        (
            "protocols: [mqtt]\n    websocket: {}",
            "5:16: listeners[0].websocket: has no effect, as protocols lacks websocket; allowed: \
             websocket in protocols, or no such section",
        ),
    ] {
        assert_eq!(faults(&in_listener(entries)), [wanted], "{entries}");
    }
}

#[test]
fn faults_of_websocket_keys() {
    let path = "/, and what a URL has after it: letters, digits, -._~!$&'()*+,;=:@/? and %XX for \
                anything else";
    let network = "IP/PREFIX or IP, such as 10.0.0.0/8, \"2001:db8::/32\", 10.0.0.7";
    let origin = "SCHEME://HOST or SCHEME://HOST:PORT, such as https://app.example, without a path \
                  and without the scheme's own port; or \"null\"";
    let of_path = |text: &str| format!("24: path: \"{text}\" is not a path; allowed: {path}");
    let of_network = |text: &str, wrong: &str, allowed: &str| {
        format!("34: forwarded_for[0]: \"{text}\" {wrong}; allowed: {allowed}")
    };
    let of_origin =
        |text: &str| format!("28: origins[0]: \"{text}\" is not an origin; allowed: {origin}");
    for (keys, wanted) in [
        ("path: mqtt", of_path("mqtt")),
        ("path: \"/a b\"", of_path("/a b")),
        ("path: ws://host/mqtt", of_path("ws://host/mqtt")),
        (
            "path: /mqtt?a=b",
            "24: path: \"/mqtt?a=b\" has a query, which is ignored; allowed: a path without ?"
                .to_owned(),
        ),
        (
            "path: /mqtt/*/x",
            "24: path: \"/mqtt/*/x\" has a * before its end; allowed: * at the end, for any rest of a path".to_owned(),
        ),
        ("paths: []", "25: paths: is an empty list; allowed: one entry or more".into()),
        ("paths: [/a, /a]", "30: paths[1]: is listed twice; allowed: each entry once".into()),
        ("paths: [/a, /b?c]", "30: paths[1]: \"/b?c\" has a query, which is ignored; allowed: a path without ?".into()),
        ("path: /a, paths: [/b]", "35: paths: is given together with path; allowed: one of the two".into()),
        ("max_head: 1000", "28: max_head: 1000 bytes is out of range; allowed: 1024 bytes to 65536 bytes".into()),
        ("max_head: 65KiB", "28: max_head: 66560 bytes is out of range; allowed: 1024 bytes to 65536 bytes".into()),
        ("ping: 0s", "24: ping: 0s is out of range; allowed: 1s to 24h".into()),
        ("ping: 25h", "24: ping: 25h is out of range; allowed: 1s to 24h".into()),
        ("subprotocols: []", "32: subprotocols: is an empty list; allowed: one entry or more".into()),
        (
            "subprotocols: [a b]",
            "33: subprotocols[0]: \"a b\" is not the name of a subprotocol; allowed: none, or the name of a subprotocol, such as mqtt: letters, digits and !#$%&'*+-.^_`|~".into(),
        ),
        ("forwarded_for: []", "33: forwarded_for: is an empty list; allowed: one entry or more".into()),
        ("forwarded_for: [10.0.0.0/33]", of_network("10.0.0.0/33", "is not a network", network)),
        ("forwarded_for: [proxy.internal]", of_network("proxy.internal", "is not a network", network)),
        ("forwarded_for: [10.0.0.1/8]", of_network("10.0.0.1/8", "has bits set after its prefix", "10.0.0.0/8, or 10.0.0.1")),
        (
            "forwarded_for: [\"::ffff:10.0.0.0/104\"]",
            of_network("::ffff:10.0.0.0/104", "is IPv4 written as IPv6", network),
        ),
        ("origins: []", "27: origins: is an empty list; allowed: one entry or more".into()),
        ("origins: [app.example]", of_origin("app.example")),
        ("origins: [\"*\"]", of_origin("*")),
        ("origins: [\"https://app.example/\"]", of_origin("https://app.example/")),
        ("origins: [\"https://app.example:443\"]", of_origin("https://app.example:443")),
        ("origins: [\"https://\"]", of_origin("https://")),
        ("origin: x", "18: origin: is an unknown key (did you mean origins?); allowed: path, paths, max_head, subprotocols, ping, forwarded_for, origins".into()),
    ] {
        let (column, rest) = wanted.split_once(": ").unwrap();
        let lines = faults(&in_listener(&format!("websocket: {{ {keys} }}")));
        assert_eq!(lines, [format!("4:{column}: listeners[0].websocket.{rest}")], "{keys}");
    }
    assert_eq!(
        faults(&in_listener("websocket: yes")),
        ["4:16: listeners[0].websocket: is a single value; allowed: a mapping of keys to values"]
    );
}
