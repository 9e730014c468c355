//! `allow` and `deny` of a listener.

use std::fs;

use mqtt_lb::testing::config::Config;

use crate::{SMALLEST, faults, good, parse, with};

fn listener(keys: &str) -> String {
    with("    bind: 0.0.0.0:1883\n", &format!("    bind: 0.0.0.0:1883\n{keys}"))
}

fn denied(config: &Config, ip: &str) -> bool {
    config.listeners[0].access.denied(ip.parse().unwrap()).is_some()
}

#[test]
fn all_networks_by_default() {
    let config = good(SMALLEST);
    assert!(config.listeners[0].access.is_default());
    assert!(!denied(&config, "192.0.2.7") && !denied(&config, "::1"));
}

#[test]
fn deny_counts_before_allow() {
    let config = good(&listener("    allow: [10.0.0.0/8, \"::1\"]\n    deny: [10.9.0.0/16]\n"));
    for (ip, wanted) in [
        ("10.0.0.1", false),
        ("10.9.0.1", true),
        ("::ffff:10.9.0.1", true),
        ("::ffff:10.8.0.1", false),
        ("::1", false),
        ("::2", true),
        ("192.0.2.1", true),
    ] {
        assert_eq!(denied(&config, ip), wanted, "{ip}");
    }
}

#[test]
fn a_list_and_a_file_together() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("networks.txt");
    fs::write(&file, "\u{feff}# banned\r\n\r\n192.0.2.0/24 # a comment\r\n\t198.51.100.7\r\n")
        .unwrap();
    let text = listener("    deny: { any: [10.0.0.1], file: networks.txt }\n");
    let config = Config::parse(&text, &folder.path().join("lb.yaml"), &|_| None).unwrap();
    for ip in ["10.0.0.1", "192.0.2.200", "198.51.100.7"] {
        assert!(denied(&config, ip), "{ip}");
    }
    assert!(!denied(&config, "10.0.0.2"));
    let again =
        Config::parse(config.effective(), &folder.path().join("lb.yaml"), &|_| None).unwrap();
    assert_eq!(again.listeners[0].access, config.listeners[0].access);
}

#[test]
fn invalid_lists() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let empty = file.path().display();
    for (keys, wanted) in [
        ("allow: []", "allow: is empty; allowed: one entry or more, or a file"),
        ("deny: {}", "deny: is empty; allowed: one entry or more, or a file"),
        (
            "deny: [unix]",
            "deny[0]: \"unix\" is not a network; allowed: IP/PREFIX or IP, such as 10.0.0.0/8, \
             \"2001:db8::/32\", 10.0.0.7",
        ),
        (
            "deny: [10.0.0.1/8]",
            "deny[0]: \"10.0.0.1/8\" has bits set after its prefix; allowed: 10.0.0.0/8, or 10.0.0.1",
        ),
        (
            "deny: { file: /no/such/file }",
            "deny.file: \"/no/such/file\" does not exist: create it, even if it is empty",
        ),
        (
            "deny: { file: /dev/null }",
            "deny.file: \"/dev/null\" cannot be read: it is not a regular file",
        ),
        (
            &format!("allow: {{ file: {empty} }}"),
            "allow: has no network, so nobody could connect; allowed: one \
             network or more",
        ),
    ] {
        let said = faults(&listener(&format!("    {keys}\n")));
        assert_eq!(said.len(), 1, "{said:?}");
        let (_, said) = said[0].split_once(": listeners[0].").unwrap();
        assert_eq!(said, wanted);
    }
    good(&listener(&format!("    deny: {{ file: {empty} }}\n")));
}

/// Each bad line is a fault of its own, named by its number.
#[test]
fn invalid_lines_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("networks.txt");
    fs::write(&file, "10.0.0.0/8\n10.0.0.0/33\n\n# fine\nfe80::1%eth0\n").unwrap();
    let text = listener("    deny: { file: networks.txt }\n");
    let said = Config::parse(&text, &folder.path().join("lb.yaml"), &|_| None).unwrap_err();
    let said = said.to_string();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    for (line, number) in
        lines.iter().zip(["line 2: \"10.0.0.0/33\" is", "line 5: \"fe80::1%eth0\" is"])
    {
        assert!(
            line.contains(&format!("4:19: listeners[0].deny.file: \"networks.txt\" {number}")),
            "{line}"
        );
    }
}

#[test]
fn unix_sockets_have_no_addresses() {
    let unix = |keys: &str| with("0.0.0.0:1883", &format!("unix:/tmp/mqtt.sock\n    {keys}"));
    for key in ["allow", "deny"] {
        assert_eq!(
            faults(&unix(&format!("{key}: [10.0.0.0/8]"))),
            [format!(
                "4:{}: listeners[0].{key}: does not apply to a unix socket, whose peers have no \
                 address; allowed: accept_proxy_protocol in addition, or no such key",
                7 + key.len()
            )]
        );
    }
    let header = "accept_proxy_protocol: { from: [unix] }\n    deny: [10.0.0.0/8]";
    assert!(parse(&unix(header)).is_ok());
}
