//! The paths and subprotocols of requests.

use super::requests::{granted, refused, rules, with};
use crate::config::{PathPattern, WebSocket};

#[test]
fn a_root_path() {
    let rules = WebSocket { paths: vec![PathPattern::Exact("/".into())], ..rules() };
    for target in ["/", "/?x", "http://broker.example", "https://broker.example?x=y", "http://b/"] {
        granted(&with(&[("GET", &format!("GET {target} HTTP/1.1"))]), &rules);
    }
}

/// Several paths, and prefixes; the path that was asked for is known either way.
#[test]
fn several_paths() {
    let exact = |path: &str| PathPattern::Exact(path.into());
    let paths = vec![exact("/mqtt"), PathPattern::Prefix("/mqtt/".into()), exact("/ws")];
    let rules = WebSocket { paths, ..rules() };
    for (target, path) in [
        ("/mqtt", "/mqtt"),
        ("/mqtt/", "/mqtt/"),
        ("/mqtt/a/b?token=x", "/mqtt/a/b"),
        ("http://broker.example/ws", "/ws"),
        ("/mqtt/../etc", "/mqtt/../etc"),
    ] {
        let request = granted(&with(&[("GET", &format!("GET {target} HTTP/1.1"))]), &rules);
        assert_eq!(&*request.path, path);
    }
    for (target, path) in [
        ("/", "/"),
        ("/mqttx", "/mqttx"),
        ("/ws/", "/ws/"),
        ("/MQTT/x?password=y", "/MQTT/x"),
        ("/%6dqtt", "/%6dqtt"),
    ] {
        let (status, detail, refusal) =
            refused(with(&[("GET", &format!("GET {target} HTTP/1.1"))]), &rules);
        assert_eq!((status, &*detail), (404, "the request's path is not the listener's"));
        assert_eq!(refusal.path.as_deref(), Some(path));
    }
    let long = format!("GET /{} HTTP/1.1", "x".repeat(7000));
    let (_, _, refusal) = refused(with(&[("GET", &long)]), &rules);
    assert_eq!(refusal.path.unwrap(), format!("/{}…", "x".repeat(199)).into());
}

/// The listener's first that is offered, and clients that offer none.
#[test]
fn other_subprotocols() {
    let named = |names: &[&str], without_subprotocol| WebSocket {
        subprotocols: names.iter().map(|name| (*name).into()).collect(),
        without_subprotocol,
        ..rules()
    };
    let offer = |offered: &str| {
        let line = format!("Sec-WebSocket-Protocol: {offered}");
        with(&[("Sec-WebSocket-Protocol", if offered.is_empty() { "" } else { &line })])
    };
    let several = named(&["mqttv5", "mqtt"], false);
    let or_none = named(&["mqtt"], true);
    let only_none = named(&[], true);
    for (rules, offered, agreed) in [
        (&several, "mqtt, mqttv5", Some("mqttv5")),
        (&several, "mqttv3.1.1, mqtt", Some("mqtt")),
        (&or_none, "mqtt", Some("mqtt")),
        (&or_none, "", None),
        (&or_none, ",", None),
        (&only_none, "", None),
    ] {
        let response = granted(&offer(offered), rules).response();
        let line = response.lines().find(|line| line.starts_with("Sec-WebSocket-Protocol"));
        let wanted = agreed.map(|name| format!("Sec-WebSocket-Protocol: {name}"));
        assert_eq!(line, wanted.as_deref(), "{offered}");
        assert!(response.ends_with("\r\n\r\n") && !response.contains("\r\n\r\n\r\n"));
    }
    for (rules, offered, said) in [
        (&several, "", "the request offers no subprotocol \"mqttv5\" or \"mqtt\""),
        (&several, "MQTT", "the request offers no subprotocol \"mqttv5\" or \"mqtt\""),
        (&or_none, "chat", "the request offers no subprotocol \"mqtt\""),
        (&only_none, "mqtt", "the request offers a subprotocol, and the listener has none"),
    ] {
        let (status, detail, _) = refused(offer(offered), rules);
        assert_eq!((status, &*detail), (400, said), "{offered}");
    }
}
