//! Texts that are YAML or JSON, and what is said of those that are not.

use std::fs;

use mqtt_lb::config::Config;

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
fn what_is_not_one_yaml_document_is_refused_at_its_place() {
    let hint = "quote values that start with [ { * & ! % @ or contain \": \"";
    for (text, expected) in [
        (
            "listeners:\n  - bind: [::]:1883\n",
            format!(
                "2:15: is not YAML: while parsing a block mapping, did not find expected key; {hint}"
            ),
        ),
        ("@a", format!("1:1: is not YAML: unexpected character: `@'; {hint}")),
        ("a: b\n---\nc: d\n", "2:1: starts a second document; a config is one document".into()),
        ("a:\n  b\u{0}c", "2:4: has a control character; only printable text is YAML".into()),
        (&"[".repeat(100), "1:34: is nested too deeply; the most is 32 levels".into()),
        (&"- ".repeat(100), "1:67: is nested too deeply; the most is 32 levels".into()),
        ("!!map {}", "1:1: has a YAML tag; remove it".into()),
        ("[]", "1:1: is a list; allowed: a mapping of keys to values".into()),
    ] {
        assert_eq!(faults(text), [expected], "{text}");
    }
}

#[test]
fn aliases_are_refused() {
    let bomb = with(
        "    upstreams:\n",
        "    tries: &a 3\n    connack_timeout: *a\n    balance: *a\n    upstreams:\n",
    );
    assert_eq!(
        faults(&bomb),
        [
            "8:22: pools[0].connack_timeout: is an alias; write the value out",
            "9:14: pools[0].balance: is an alias; write the value out",
        ]
    );
}

#[test]
fn a_file_that_is_no_text_is_refused() {
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
