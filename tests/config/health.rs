//! The keys of a pool's `health`, and the secrets that checks may need.

use std::{fs, num::NonZeroU32, path::Path, time::Duration};

use mqtt_lb::testing::config::{ActiveCheck, Config, Health, Probe};

use crate::{SMALLEST, in_pool, with};

fn health(keys: &str) -> Health {
    let entry = format!("health: {{ {keys} }}");
    let mut config = in_pool(&entry).unwrap_or_else(|faults| panic!("{keys}: {faults:?}"));
    config.pools.remove(0).health
}

fn check(keys: &str) -> ActiveCheck {
    health(&format!("active: {{ {keys} }}")).active.unwrap()
}

/// The one thing that is said of `health`, which stands in line 7 and begins in column 13.
fn fault(keys: &str) -> String {
    let faults = in_pool(&format!("health: {{ {keys} }}")).expect_err(keys);
    assert_eq!(faults.len(), 1, "{keys}: {faults:?}");
    let line = faults[0].strip_prefix("7:").expect(&faults[0]);
    line.replacen("pools[0].health.", "", 1)
}

#[test]
fn a_check_has_defaults_for_all_but_its_type() {
    let tcp = check("type: tcp");
    let defaults = "ActiveCheck { probe: Tcp, interval: 5s, timeout: 2s, rise: 2, fall: 3 }";
    assert_eq!(format!("{tcp:?}"), defaults);
    let tcp = check("type: tcp, interval: 100ms, timeout: 1ms, rise: 1, fall: 4294967295");
    assert_eq!((tcp.interval, tcp.timeout), (Duration::from_millis(100), Duration::from_millis(1)));
    assert_eq!((tcp.rise.get(), tcp.fall.get()), (1, u32::MAX));
    assert_eq!(
        format!("{:?}", check("type: mqtt").probe),
        "Mqtt { username: None, password: None, expect: [0] }"
    );
    assert_eq!(
        format!("{:?}", check("type: mqtt, username: a:b, expect: [5, 0, 5]").probe),
        "Mqtt { username: Some(\"a:b\"), password: None, expect: [5, 0, 5] }"
    );
    assert_eq!(
        format!("{:?}", check("type: http, port: 8081").probe),
        "Http { port: 8081, path: \"/\", expect: [200], login: None }"
    );
    assert_eq!(
        format!(
            "{:?}",
            check("type: http, port: 65535, path: \"/a%20b?c=d\", expect: [204, 599]").probe
        ),
        "Http { port: 65535, path: \"/a%20b?c=d\", expect: [204, 599], login: None }"
    );
}

#[test]
fn faults_of_checks() {
    let positive = "allowed: a whole number from 1 to 4294967295";
    let path = "allowed: /, and what a URL has after it: letters, digits, -._~!$&'()*+,;=:@/? and \
                %XX for anything else";
    let codes = "allowed: a whole number from 0 to 5";
    let statuses = "allowed: a whole number from 200 to 599";
    for (keys, wrong) in [
        ("", "23: active.type: is required; allowed: tcp, mqtt, http".into()),
        ("type: ping", "31: active.type: \"ping\" is unknown; allowed: tcp, mqtt, http".into()),
        // Which keys belong to it is not known then.
        (
            "type: https, port: 443, path: /",
            "31: active.type: \"https\" is unknown; allowed: tcp, mqtt, http".into(),
        ),
        (
            "type: tcp, expect: [0]",
            "36: active.expect: is an unknown key; allowed: type, interval, timeout, rise, fall".into(),
        ),
        (
            "type: mqtt, port: 1883",
            "37: active.port: is an unknown key; allowed: type, interval, timeout, rise, fall, \
             username, password_file, expect"
                .into(),
        ),
        (
            "type: tcp, interval: 99ms",
            "46: active.interval: 99ms is out of range; allowed: 100ms to 24h".into(),
        ),
        (
            "type: tcp, timeout: 0s",
            "45: active.timeout: 0s is out of range; allowed: 1ms to 8760h".into(),
        ),
        ("type: tcp, rise: 0", format!("42: active.rise: \"0\" is out of range; {positive}")),
        ("type: tcp, fall: \"3\"", format!("42: active.fall: \"3\" is quoted; {positive}")),
        ("type: tcp, type: tcp", "36: active.type: is there twice, first at line 7; keep one".into()),
        (
            "type: mqtt, expect: []",
            "45: active.expect: is an empty list; allowed: one entry or more".into(),
        ),
        ("type: mqtt, expect: 0", "45: active.expect: is a single value; allowed: a list".into()),
        ("type: mqtt, expect: [0, 6]", format!("49: active.expect[1]: \"6\" is out of range; {codes}")),
        (
            "type: mqtt, expect: [0x0]",
            "46: active.expect[0]: \"0x0\" is not a whole number; allowed: a whole number from 0 to 999".into(),
        ),
        (
            "type: mqtt, username: \"a\\u0000\"",
            "47: active.username: \"a\\0\" cannot be sent; allowed: up to 65535 bytes without \
             control characters"
                .into(),
        ),
        ("type: http", "23: active.port: is required; allowed: a port from 1 to 65535".into()),
        (
            "type: http, port: 0",
            "43: active.port: \"0\" is out of range; allowed: a whole number from 1 to 65535".into(),
        ),
        ("type: http, port: 1, path: status", format!("52: active.path: \"status\" is not a path; {path}")),
        ("type: http, port: 1, path: \"/a b\"", format!("52: active.path: \"/a b\" is not a path; {path}")),
        ("type: http, port: 1, path: /a#b", format!("52: active.path: \"/a#b\" is not a path; {path}")),
        (
            "type: http, port: 1, path: \"/a\\r\\nHost: b\"",
            format!("52: active.path: \"/a\\r\\nHost: b\" is not a path; {path}"),
        ),
        (
            "type: http, port: 1, expect: [199]",
            format!("55: active.expect[0]: \"199\" is out of range; {statuses}"),
        ),
        (
            "type: http, port: 1, expect: [600]",
            format!("55: active.expect[0]: \"600\" is out of range; {statuses}"),
        ),
        (
            "type: http, port: 1, expect: [\"200\"]",
            "55: active.expect[0]: \"200\" is quoted; allowed: a whole number from 0 to 999".into(),
        ),
        (
            "type: http, port: 1, username: me",
            "56: active.username: is given without a password_file; allowed: both, or neither".into(),
        ),
        (
            "type: http, port: 1, username: \"a:b\"",
            "56: active.username: \"a:b\" cannot be sent; allowed: text without colons and control \
             characters"
                .into(),
        ),
    ] {
        assert_eq!(fault(&format!("active: {{ {keys} }}")), wrong, "{keys}");
    }
    let longest = "u".repeat(65_535);
    check(&format!("type: mqtt, username: {longest}"));
    let said = fault(&format!("active: {{ type: mqtt, username: {longest}u }}"));
    assert!(said.starts_with("47: active.username: ") && said.contains("cannot be sent"), "{said}");
}

/// HTTP is asked at another port, which a socket's path does not have.
#[test]
fn http_checks_do_not_apply_to_unix_sockets() {
    let unix = with("10.0.0.7:1883", "unix:/run/broker.sock");
    let health = |kind: &str| format!("{unix}    health: {{ active: {{ type: {kind} }} }}\n");
    for kind in ["tcp", "mqtt"] {
        crate::good(&health(kind));
    }
    assert_eq!(
        crate::faults(&health("http, port: 8081")),
        [
            "10:13: pools[0].health: has checks of type http, and broker-1 is a unix socket; allowed: \
          tcp, mqtt"
        ]
    );
}

#[test]
fn ejection_can_be_tuned_and_switched_off() {
    let passive = |keys: &str| health(&format!("passive: {{ {keys} }}")).passive;
    assert!(passive("failures: 0").is_none());
    assert!(passive("failures: 0, window: 1s, eject_for: 1s, max_ejected_percent: 1").is_none());
    let some =
        passive("failures: 1, window: 1s, eject_for: 8760h, max_ejected_percent: 100").unwrap();
    assert_eq!((some.failures.get(), some.window), (1, Duration::from_secs(1)));
    assert_eq!((some.eject_for, some.max_ejected_percent), (Duration::from_hours(8760), 100));
    assert_eq!(passive("max_ejected_percent: 0").unwrap().max_ejected_percent, 0);
    assert_eq!(passive("").unwrap().failures.get(), 5);
    let open = |percent: &str| health(&format!("fail_open_percent: {percent}")).fail_open_percent;
    assert_eq!([open("0"), open("1"), open("100")], [0, 1, 100].map(NonZeroU32::new));

    let number = "allowed: a whole number from 0 to 4294967295";
    let percent = "allowed: a whole number from 0 to 100";
    for (keys, wrong) in [
        (
            "passive: off",
            "24: passive: is a single value; allowed: a mapping of keys to values".into(),
        ),
        (
            "passive: { failures: -1 }",
            format!("36: passive.failures: \"-1\" is out of range; {number}"),
        ),
        (
            "passive: { failures: five }",
            format!("36: passive.failures: \"five\" is not a whole number; {number}"),
        ),
        // Also where nothing is ejected.
        (
            "passive: { failures: 0, window: 0s }",
            "47: passive.window: 0s is out of range; allowed: 1ms to 8760h".into(),
        ),
        (
            "passive: { eject_for: 0s }",
            "37: passive.eject_for: 0s is out of range; allowed: 1ms to 8760h".into(),
        ),
        (
            "passive: { max_ejected_percent: 101 }",
            format!("47: passive.max_ejected_percent: \"101\" is out of range; {percent}"),
        ),
        (
            "passive: { max_ejected_percent: 50% }",
            format!("47: passive.max_ejected_percent: \"50%\" is not a whole number; {percent}"),
        ),
        (
            "fail_open_percent: 101",
            format!("34: fail_open_percent: \"101\" is out of range; {percent}"),
        ),
        (
            "fail_open_percent: \"90\"",
            format!("34: fail_open_percent: \"90\" is quoted; {percent}"),
        ),
        (
            "pasive: {}",
            "15: pasive: is an unknown key (did you mean passive?); allowed: active, passive, \
             fail_open_percent"
                .into(),
        ),
    ] {
        assert_eq!(fault(keys), wrong, "{keys}");
    }
}

/// A config in `folder` with these keys of a check, and what is said of its password file.
fn load(folder: &Path, keys: &str) -> Result<Config, String> {
    let file = folder.join("c.yaml");
    let health = format!("    health: {{ active: {{ {keys}, password_file: probe.password }} }}\n");
    fs::write(&file, format!("{SMALLEST}{health}")).unwrap();
    let place = format!("{}:10:", file.display());
    Config::load(&file).map_err(|faults| faults.to_string().replace(&place, ""))
}

#[test]
fn passwords_are_read_from_files_and_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &[u8]| fs::write(folder.path().join("probe.password"), text).unwrap();
    let allowed = "allowed: a readable file with one line of text, of up to 65535 bytes";
    let said = || load(folder.path(), "type: mqtt, username: me").unwrap_err();
    let place = "66: pools[0].health.active.password_file: \"probe.password\"";
    let missing = "cannot be read: No such file or directory (os error 2)";
    assert_eq!(said(), format!("{place} {missing}; {allowed}"));
    write(b"\r\n");
    assert_eq!(said(), format!("{place} is empty; {allowed}"));
    for other in ["two\nlines\n".to_owned(), "ze\0ro".to_owned(), "x".repeat(65_536)] {
        write(other.as_bytes());
        assert_eq!(said(), format!("{place} holds something else; {allowed}"));
    }
    write(b"\xff");
    assert!(said().starts_with(&format!("{place} cannot be read: ")), "{}", said());

    for (contents, password) in [
        (" s3cret wörd \r\n", " s3cret wörd ".to_owned()),
        (&"s3cret".repeat(10_922), "s3cret".repeat(10_922)),
    ] {
        write(contents.as_bytes());
        let config = load(folder.path(), "type: mqtt, username: me").unwrap();
        assert!(!format!("{config:?} {config:#?}").contains("s3cret"));
        let Some(ActiveCheck { probe: Probe::Mqtt { password: Some(read), .. }, .. }) =
            &config.pools[0].health.active
        else {
            panic!("{config:?}")
        };
        assert_eq!(read.reveal(), password);
    }
    write(b"s3cret\n");
    let config = load(folder.path(), "type: http, port: 1, username: me").unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    let probe = format!("{:?}", config.pools[0].health.active.as_ref().unwrap().probe);
    assert!(probe.ends_with("login: Some((\"me\", (secret))) }"), "{probe}");

    let without = |keys: &str| load(folder.path(), keys).unwrap_err();
    assert_eq!(
        without("type: mqtt"),
        "52: pools[0].health.active.password_file: is given without a username; allowed: both, or a \
         username alone"
    );
    assert_eq!(
        without("type: http, port: 1"),
        "61: pools[0].health.active.password_file: is given without a username; allowed: both, or \
         neither"
    );
    // Of no use to a check over TCP, so it is not even looked at.
    assert!(without("type: tcp").contains("password_file: is an unknown key"));
}
