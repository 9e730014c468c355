//! Texts that are YAML or JSON, and what is said of those that are not.

use std::fmt::Write;

use std::fs;

use mqtt_lb::testing::config::Config;

use crate::{SMALLEST, faults, good, with};

#[test]
fn json_and_a_byte_order_mark_are_read() {
    let json = r#"{
        "listeners": [{"name": "mqtt", "bind": "0.0.0.0:1883", "pool": "brokers"}],
        "pools": [{"name": "brokers", "upstreams": [
            {"name": "broker-1", "address": "10.0.0.7:1883", "weight": 1, "backup": false}]}],
        "timeouts": {"idle": "keepalive"}
    }"#;
    assert_eq!(format!("{:?}", good(json)), format!("{:?}", good(SMALLEST)));
    good(&format!("\u{feff}{SMALLEST}"));
    good(&SMALLEST.replace('\n', "\r\n"));
}

#[test]
fn syntax_faults_have_positions() {
    for (text, expected) in [
        ("a: b\n---\nc: d\n", "2:1: starts a second document; a config is one document"),
        ("a:\n  b\u{0}c", "2:4: has a control character; only printable text is YAML"),
        (&"[".repeat(100), "1:34: is nested too deeply; the most is 32 levels"),
        (&"- ".repeat(100), "1:67: is nested too deeply; the most is 32 levels"),
        ("!!map {}", "1:1: has a YAML tag; remove it"),
        ("[]", "1:1: is a list; allowed: a mapping of keys to values"),
    ] {
        assert_eq!(faults(text), [expected], "{text}");
    }
}

#[test]
fn each_syntax_fault_has_its_own_text() {
    for (text, place, cause) in [
        ("listeners:\n  - bind: [::]:1883\n", "2:", "quote the value"),
        ("@a", "1:1", "a character that YAML reserves"),
        ("a: `b`", "1:4", "a character that YAML reserves"),
        ("log:\n\tlevel: info\n", "2:", "a tab where YAML wants spaces"),
        ("log:\n  level: info\n\tformat: text\n", "3:", "a tab where YAML wants spaces"),
        ("log:\n  level: info\n format: text\n", "3:", "indent"),
        ("log:\n  level: info\n    format: text\n", "3:", "indent"),
        ("log: { level: \"info }\n", "", "a quote that is never closed"),
        ("log: { level: 'info }\n", "", "a quote that is never closed"),
        ("log: { level: info\ndrain: {}\n", "", "{ "),
        ("pools: [{ name: a }\nlog: {}\n", "", "[ "),
        ("pools: ]\n", "1:8", "bracket"),
        ("log: \"a\\q\"\n", "1:", "unknown escape"),
        ("log: \"a\" b\n", "1:", "a closing quote"),
        ("log: *nothing\n", "1:6", "an anchor (&) that is not defined"),
        ("log: a: b\n", "1:", "a second \": \""),
        ("log: - a\n", "1:", "line of its own"),
    ] {
        let said = faults(text);
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        assert!(said[0].starts_with(place) && said[0].contains(cause), "{text}: {said:?}");
        assert!(said[0].contains("invalid YAML: "), "{text}: {said:?}");
    }
}

#[test]
fn anchors_aliases_and_merge_keys_are_read() {
    let text = "\
x-broker: &broker { weight: 7, max_connections: 5, backup: true }
x-other: &other { weight: 9, backup: false }
listeners:
  - &first { name: mqtt, bind: 127.0.0.1:1883, pool: &pool brokers }
  - { <<: *first, name: second, bind: 127.0.0.1:1884 }
pools:
  - name: *pool
    connect_timeout: &time 3s
    connack_timeout: *time
    upstreams:
      - { name: a, address: a:1, <<: *broker }
      - { <<: [*other, *broker], name: b, address: b:1 }
      - { <<: *broker, name: c, address: c:1, backup: false }
";
    let config = good(text);
    assert_eq!((&*config.listeners[1].name, config.listeners[1].pool), ("second", 0));
    let pool = &config.pools[0];
    assert_eq!(pool.connack_timeout, std::time::Duration::from_secs(3));
    let limit =
        |upstream: &mqtt_lb::testing::config::Upstream| upstream.max_connections.map(u32::from);
    let read: Vec<_> =
        pool.upstreams.iter().map(|u| (u.weight.get(), limit(u), u.backup)).collect();
    assert_eq!(read, [(7, Some(5), true), (9, Some(5), false), (7, Some(5), false)]);
    // What they stand for is what is printed.
    assert_eq!(format!("{:?}", good(config.effective())), format!("{config:?}"));
}

/// A value is at fault where the alias stands, what is inside it where it was written.
#[test]
fn faults_of_aliases_have_positions() {
    let text = with(
        "    upstreams:\n",
        "    tries: &a 3\n    connack_timeout: *a\n    balance: *a\n    upstreams:\n",
    );
    let said = faults(&text);
    assert!(said[0].starts_with("8:22: pools[0].connack_timeout: \"3\" has no unit"), "{said:?}");
    assert!(said[1].starts_with("9:14: pools[0].balance: is a single value"), "{said:?}");
    assert_eq!(
        faults(&format!("{SMALLEST}x-a: &a {{ no: 1 }}\nlog: {{ <<: *a }}\n")),
        ["10:11: log.no: is an unknown key; allowed: level, format"]
    );
    for (merged, column) in [("5", "12"), ("[5]", "13"), ("~", "12")] {
        let said = faults(&format!("{SMALLEST}log: {{ <<: {merged} }}\n"));
        let place = format!("10:{column}: cannot be merged (<<); allowed: an alias of a mapping");
        assert!(said.len() == 1 && said[0].starts_with(&place), "{merged}: {said:?}");
    }
}

/// A few lines of aliases can stand for billions of values, and are refused before they do.
#[test]
fn aliases_have_a_budget() {
    let mut bomb = "x-0: &a0 [a, a, a, a, a, a, a, a, a, a]\n".to_owned();
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "x-{level}: &a{level} [{aliases}]").unwrap();
    }
    let said = faults(&bomb);
    assert_eq!(said.len(), 1);
    // Ten times as much with each line: the fourth has 11,111 values for each of its aliases.
    assert!(said[0].contains("stand for more than 100000 values"), "{said:?}");
    assert!(said[0].starts_with("5:") || said[0].starts_with("4:"), "{said:?}");

    let mut merges = "x-0: &a0 { k: 1 }\n".to_owned();
    for level in 1..200_u32 {
        let below = level - 1;
        writeln!(merges, "x-{level}: &a{level} {{ <<: [*a{below}, *a{below}], k{level}: 1 }}")
            .unwrap();
    }
    assert!(faults(&merges)[0].contains("stand for more than 100000 values"));

    let deep = format!(
        "x-a: &a {}{}\nx-b: {}*a{}\n",
        "[".repeat(20),
        "]".repeat(20),
        "[".repeat(20),
        "]".repeat(20)
    );
    assert!(faults(&deep)[0].contains("is nested too deeply"));
    assert_eq!(faults("x-a: &a [*a]\n"), ["1:10: is an alias inside the value that it stands for"]);
    // Many brokers that share their settings are within it.
    let mut brokers = String::new();
    for n in 0..4096 {
        writeln!(brokers, "      - {{ <<: *b, name: b{n}, address: \"10.0.0.1:1883\" }}").unwrap();
    }
    let shared = "x-b: &b { weight: 2, max_connections: 3, backup: false }\n";
    let (head, _) = SMALLEST.split_once("      - name").unwrap();
    assert_eq!(good(&format!("{shared}{head}{brokers}")).pools[0].upstreams.len(), 4096);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_keep_places() {
    let text = format!("\u{feff}{SMALLEST}log: {{ level: loud }}\n").replace('\n', "\r\n");
    assert!(faults(&text)[0].starts_with("10:15: log.level: "), "{:?}", faults(&text));
}

#[test]
fn a_file_that_is_not_utf_8_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    let said = || Config::load(&file).unwrap_err().to_string();
    assert_eq!(
        said(),
        format!("{}:1:1: cannot be read: No such file or directory (os error 2)", file.display())
    );
    fs::write(&file, b"log:\n  l\xff: 1\n").unwrap();
    assert_eq!(said(), format!("{}:2:4: is not UTF-8 from here on", file.display()));
}
