//! What wraps a listener's MQTT.

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
        ("origin: x", "18: origin: is an unknown key (did you mean origins?); allowed: path, forwarded_for, origins".into()),
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
