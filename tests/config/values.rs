//! Values of each kind, at and beyond the edges of what is allowed.

use std::{fs, num::NonZeroU32, time::Duration};

use mqtt_lb::testing::config::{Config, Idle, LOG_FIELDS, TcpKeepalive};

use crate::{SMALLEST, good, parse, tail};

#[test]
fn durations_have_units_and_ranges() {
    let idle = |text: &str| {
        parse(&format!("{SMALLEST}timeouts: {{ idle: {text} }}\n")).map(|c| c.timeouts.idle)
    };
    for (text, expected) in [
        ("keepalive", Idle::KeepAlive),
        ("none", Idle::Never),
        ("500ms", Idle::After(Duration::from_millis(500))),
        ("10s", Idle::After(Duration::from_secs(10))),
        ("\"5m\"", Idle::After(Duration::from_mins(5))),
        ("1h", Idle::After(Duration::from_hours(1))),
        ("8760h", Idle::After(Duration::from_hours(8760))),
    ] {
        assert_eq!(idle(text).expect(text), expected);
    }
    let allowed = "allowed: a whole number with ms, s, m or h, such as 500ms, 10s, 5m, 1h";
    for (text, wrong) in [
        ("10", format!("\"10\" has no unit; {allowed}")),
        ("1.5s", format!("\"1.5s\" is not a duration; {allowed}")),
        ("-1s", format!("\"-1s\" is not a duration; {allowed}")),
        ("1d", format!("\"1d\" is not a duration; {allowed}")),
        ("1m30s", format!("\"1m30s\" is not a duration; {allowed}")),
        ("99999999999999999999s", format!("\"99999999999999999999s\" is not a duration; {allowed}")),
        ("9999999999999999999h", format!("\"9999999999999999999h\" is not a duration; {allowed}")),
        ("0h", "0s is out of range; allowed: 1ms to 8760h".into()),
        ("8761h", "8761h is out of range; allowed: 1ms to 8760h".into()),
        (
            "never",
            "\"never\" is unknown; allowed: keepalive, none, or a whole number with ms, s, m or h, \
             such as 500ms, 10s, 5m, 1h"
                .into(),
        ),
    ] {
        let faults = idle(text).expect_err(text).to_string();
        assert_eq!(faults, format!("/etc/t.yaml:10:19: timeouts.idle: {wrong}"));
    }
    assert_eq!(
        tail("timeouts: { tcp_keepalive: 500ms, tcp_user_timeout: 597h, connect_packet: 0s }\n"),
        [
            "10:28: timeouts.tcp_keepalive: 500ms is out of range; allowed: 1s to 32767s",
            "10:53: timeouts.tcp_user_timeout: 597h is out of range; allowed: 1ms to 596h",
            "10:75: timeouts.connect_packet: 0s is out of range; allowed: 1ms to 8760h",
        ]
    );
    assert_eq!(
        tail(
            "timeouts: { tcp_keepalive: { idle: 0s, interval: 9h6m8s, count: 128, probes: 2 }, \
             tcp_user_timeout: never }\n"
        ),
        [
            "10:36: timeouts.tcp_keepalive.idle: 0s is out of range; allowed: 1s to 32767s",
            "10:50: timeouts.tcp_keepalive.interval: \"9h6m8s\" is not a duration; allowed: a whole \
             number with ms, s, m or h, such as 500ms, 10s, 5m, 1h",
            "10:65: timeouts.tcp_keepalive.count: \"128\" is out of range; allowed: a whole number \
             from 1 to 127",
            "10:70: timeouts.tcp_keepalive.probes: is an unknown key; allowed: idle, interval, count",
            "10:101: timeouts.tcp_user_timeout: \"never\" is unknown; allowed: auto, or a whole \
             number with ms, s, m or h, such as 500ms, 10s, 5m, 1h",
        ]
    );
    let keepalive = |text: &str| {
        let config = good(&format!("{SMALLEST}timeouts: {{ tcp_keepalive: {text} }}\n"));
        let TcpKeepalive { idle, interval, count } = config.timeouts.tcp_keepalive;
        (idle.as_secs(), interval.as_secs(), count)
    };
    for (text, expected) in [
        ("60s", (60, 10, 3)),
        ("5s", (5, 1, 3)),
        ("1s", (1, 1, 3)),
        ("32767s", (32_767, 15, 3)),
        ("{}", (60, 10, 3)),
        ("{ idle: 20s }", (20, 3, 3)),
        ("{ count: 127 }", (60, 10, 127)),
        ("{ idle: 5m, interval: 32767s, count: 1 }", (300, 32_767, 1)),
    ] {
        assert_eq!(keepalive(text), expected, "{text}");
    }
    let config =
        good(&format!("{SMALLEST}timeouts: {{ half_close: 0s }}\ndrain: {{ timeout: 0ms }}\n"));
    assert_eq!(
        (config.timeouts.half_close, config.drain.timeout),
        (Duration::ZERO, Duration::ZERO)
    );
}

#[test]
fn an_ipv6_prefix_is_one_to_128_bits() {
    let prefix = |text: &str| {
        parse(&format!("{SMALLEST}limits: {{ ipv6_prefix: {text} }}\n"))
            .map(|config| config.limits.ipv6_prefix)
    };
    for (text, bits) in [("1", 1), ("56", 56), ("128", 128)] {
        assert_eq!(prefix(text).expect(text), bits);
    }
    for text in ["0", "129", "256"] {
        let faults = prefix(text).expect_err(text).to_string();
        let wrong = format!("\"{text}\" is out of range; allowed: a whole number from 1 to 128");
        assert_eq!(faults, format!("/etc/t.yaml:10:24: limits.ipv6_prefix: {wrong}"));
    }
}

#[test]
fn sizes_and_numbers_have_ranges() {
    let packet = |text: &str| {
        parse(&format!("{SMALLEST}limits: {{ connect_packet: {text} }}\n"))
            .map(|config| config.limits.connect_packet)
    };
    for (text, bytes) in
        [("512", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("64", 64), ("268435460", 268_435_460)]
    {
        assert_eq!(packet(text).expect(text), bytes);
    }
    let allowed = "allowed: a whole number of bytes, KiB or MiB, such as 512, 64KiB, 1MiB";
    for (text, wrong) in [
        ("64KB", format!("\"64KB\" is not a size; {allowed}")),
        ("64 KiB", format!("\"64 KiB\" is not a size; {allowed}")),
        ("-1", format!("\"-1\" is not a size; {allowed}")),
        (
            "18446744073709551615MiB",
            format!("\"18446744073709551615MiB\" is not a size; {allowed}"),
        ),
        ("63", "63 bytes is out of range; allowed: 64 bytes to 268435460 bytes".into()),
        ("257MiB", "269484032 bytes is out of range; allowed: 64 bytes to 268435460 bytes".into()),
    ] {
        let faults = packet(text).expect_err(text).to_string();
        assert_eq!(faults, format!("/etc/t.yaml:10:27: limits.connect_packet: {wrong}"));
    }
    assert_eq!(
        tail(
            "limits: { max_connections: 4294967296, max_connections_per_ip: 1.5, connects_per_ip: { \
             rate: \"5\", burst: many } }\nruntime: { workers: 0 }\n"
        ),
        [
            "10:28: limits.max_connections: \"4294967296\" is out of range; allowed: a whole number \
             from 0 to 4294967295",
            "10:64: limits.max_connections_per_ip: \"1.5\" is not a whole number; allowed: a whole \
             number from 0 to 4294967295",
            "10:94: limits.connects_per_ip.rate: \"5\" is quoted; allowed: a whole number from 0 to \
             4294967295",
            "10:106: limits.connects_per_ip.burst: \"many\" is not a whole number; allowed: a whole \
             number from 0 to 4294967295",
            "11:21: runtime.workers: \"0\" is out of range; allowed: a whole number from 1 to 1024",
        ]
    );
    assert_eq!(
        tail("runtime: { workers: some }\n"),
        [
            "10:21: runtime.workers: \"some\" is unknown; allowed: auto, or a whole number from 1 to 1024"
        ]
    );
    let config = good(&format!(
        "{SMALLEST}limits: {{ max_connections: 7, connects_per_ip: {{ rate: 5 }} }}\nruntime: {{ workers: 1024 }}\n"
    ));
    assert_eq!(config.limits.max_connections, NonZeroU32::new(7));
    assert_eq!(config.runtime.workers.count().get(), 1024);
    let rate = config.limits.connects_per_ip.unwrap();
    assert_eq!((rate.rate.get(), rate.burst.get()), (5, 5));
    let config =
        good(&format!("{SMALLEST}limits: {{ connects_per_ip: {{ rate: 5, burst: 9 }} }}\n"));
    assert_eq!(config.limits.connects_per_ip.unwrap().burst.get(), 9);
}

#[test]
fn the_admin_token_is_read_and_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    let load = |token: Option<&[u8]>| {
        if let Some(token) = token {
            fs::write(folder.path().join("admin.token"), token).unwrap();
        }
        let admin = "admin: { bind: 0.0.0.0:9883, token_file: admin.token }\n";
        fs::write(&file, format!("{SMALLEST}{admin}")).unwrap();
        Config::load(&file).map_err(|faults| faults.to_string())
    };
    let place = format!("{}:10:42: admin.token_file: \"admin.token\"", file.display());
    let allowed = "allowed: a readable file with one token of visible ASCII characters";
    assert_eq!(
        load(None).unwrap_err(),
        format!("{place} cannot be read: No such file or directory (os error 2); {allowed}")
    );
    assert_eq!(load(Some(b" \n")).unwrap_err(), format!("{place} is empty; {allowed}"));
    assert_eq!(
        load(Some(b"a b\n")).unwrap_err(),
        format!("{place} holds something else; {allowed}")
    );
    assert!(load(Some(b"\xff")).unwrap_err().contains(" cannot be read: "));
    let admin = load(Some(b"s3cret\n")).unwrap().admin.unwrap();
    assert_eq!(admin.token.as_ref().unwrap().reveal(), "s3cret");
    assert!(!format!("{admin:?}").contains("s3cret"));
    for bind in ["127.0.0.1:9883", "\"[::1]:9883\"", "unix:/dev/a.sock"] {
        good(&format!("{SMALLEST}admin: {{ bind: {bind} }}\n"));
    }
}

/// What `check` lets pass, `run` can use, and the other way round.
#[test]
fn template_variables_are_those_that_the_access_log_has() {
    const TEMPLATE_FIELDS: [&str; 5] =
        ["time_local", "source_ip", "tls_san_dns", "tls_san_uri", "tls_san_email"];
    let known: Vec<_> =
        mqtt_lb::testing::access_log::field_names().chain(TEMPLATE_FIELDS).collect();
    assert_eq!(LOG_FIELDS, known);
}
