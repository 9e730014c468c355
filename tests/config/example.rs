//! `config.yaml.example` says what the code does.

use mqtt_lb::config::Bind;

use crate::{SMALLEST, faults, good, with};

pub(crate) const EXAMPLE: &str = include_str!("../../config.yaml.example");

/// Where a key of a later version stands, and what it is given.
const LATER: [(&str, &str); 14] = [
    ("listeners[0]", "accept_proxy_protocol"),
    ("listeners[0]", "tls"),
    ("listeners[0]", "websocket"),
    ("pools[0].balance", "bounded_load"),
    ("pools[0]", "discover"),
    ("pools[0]", "retry_on"),
    ("pools[0]", "tls"),
    ("pools[0]", "send_proxy_protocol"),
    ("pools[0]", "source_addresses"),
    ("pools[0]", "health"),
    ("pools[0]", "on_down"),
    ("pools[0]", "rebalance"),
    ("pools[0]", "slow_start"),
    ("pools[0]", "admission"),
];

#[test]
fn keys_of_later_versions_are_refused_as_such() {
    for (section, key) in LATER {
        let (before, indent) = match section {
            "listeners[0]" => ("    pool: brokers\n", "    "),
            "pools[0]" => ("    upstreams:\n", "    "),
            _ => ("    upstreams:\n", "    balance:\n      "),
        };
        // Even an empty one says what the operator expects.
        for value in ["", " {}", " { a: 1, a: 2 }", " 1.25"] {
            let text = with(before, &format!("{indent}{key}:{value}\n{before}"));
            let lines = faults(&text);
            let said = format!("{section}.{key}: is not available yet in this version; remove it");
            assert!(lines.len() == 1 && lines[0].ends_with(&said), "{lines:?}");
        }
        assert!(EXAMPLE.contains(&format!("    # {key}: ")), "{key} in the example");
    }
    let balance = |entry: &str| {
        faults(&with("    upstreams:\n", &format!("    balance: {{ {entry} }}\n    upstreams:\n")))
    };
    assert_eq!(
        balance("empty_client_id: assign"),
        ["7:33: pools[0].balance.empty_client_id: \"assign\" is not available yet in this \
             version; allowed: least_connections, username, source_ip, reject"]
    );
    for key in ["tls_cn", "sni"] {
        let lines = balance(&format!("key: {key}"));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("7:21: pools[0].balance.key: "), "{lines:?}");
        assert!(lines[0].contains("not available yet"), "{lines:?}");
    }
}

#[test]
fn the_example_states_the_defaults() {
    let mut example = good(EXAMPLE);
    let admin = example.admin.take().expect("the example has an admin listener");
    assert_eq!(admin.bind, Bind::Tcp("127.0.0.1:9883".parse().unwrap()));
    let shown = std::mem::take(&mut example.access_log);
    assert_eq!(format!("{example:?}"), format!("{:?}", good(SMALLEST)));
    let least = good(&format!("{SMALLEST}access_log: [{{ path: /dev/stdout }}]\n"));
    assert_eq!(format!("{shown:?}"), format!("{:?}", least.access_log));
}

/// Every section says which keys it knows when it meets one that it does not; each of them is in
/// the example already, so that a second one is one too many.
#[test]
fn the_example_has_every_key() {
    let mut keys = 0;
    for line in [
        "runtime:",
        "  workers: ",
        "    bind: 0.0.0.0",
        "      algorithm: ",
        "        address: ",
        "    tries: ",
        "  max_connections: ",
        "    rate: ",
        "  connect_packet: 10s",
        "  timeout: ",
        "    format: json",
        "  level: ",
        "  bind: 127",
    ] {
        let (before, _) = EXAMPLE.split_once(&format!("\n{line}")).expect(line);
        let after = &EXAMPLE[before.len()..];
        let indent = &line[..line.len() - line.trim_start().len()];
        let said = |key: &str| faults(&format!("{before}\n{indent}{key}: ~{after}")).join("\n");
        let unknown = said("no_such_key");
        let (_, allowed) = unknown.split_once("unknown key; allowed: ").expect(&unknown);
        for key in allowed.split(", ") {
            if key == "token_file" {
                // Its file would have to be there.
                assert!(EXAMPLE.contains("\n  # token_file: "));
            } else {
                let twice = said(key);
                assert!(twice.contains(&format!("{key}: is there twice")), "{key}: {twice}");
            }
            keys += 1;
        }
    }
    // Each section of the design's section 3 has been visited.
    assert_eq!(keys, 9 + 1 + 3 + 3 + 5 + 6 + 4 + 2 + 5 + 1 + 3 + 2 + 2);
}

/// serde_yaml shares no code with the reader of this crate: what it makes of a text, written out
/// again as JSON and as YAML of its own style, must be the same configuration.
#[test]
fn another_yaml_reader_understands_the_same() {
    const STYLES: &str = r#"
listeners:
- name: "a\u002db"
  bind: 127.0.0.1:1883
  pool: 'the-pool'
- {name: c, "bind": "[::1]:1883", pool: the-pool}
pools:
  - {name: 'the-pool', upstreams: [{name: plain, address: "x:1", weight: 7}]}   # a comment: here
drain:
    timeout:
        5s
"#;
    for text in [include_str!("../../config.yaml.example"), SMALLEST, STYLES] {
        let value: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
        let ours = format!("{:?}", good(text));
        assert_eq!(format!("{:?}", good(&serde_json::to_string(&value).unwrap())), ours);
        assert_eq!(format!("{:?}", good(&serde_yaml::to_string(&value).unwrap())), ours);
    }
}
