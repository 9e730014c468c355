//! The keys of a pool: its brokers, how they are chosen, and what becomes of their clients.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use mqtt_lb::testing::config::{OnDown, Pool, Records};

use crate::{SMALLEST, faults, good, in_pool, tail, with};

const DURATION: &str = "allowed: a whole number with ms, s, m or h, such as 500ms, 10s, 5m, 1h";

fn pool(entry: &str) -> Pool {
    in_pool(entry).unwrap_or_else(|faults| panic!("{entry}: {faults:?}")).pools.remove(0)
}

/// The one thing that is said of an entry of line 7, after `pools[0].`.
fn fault(entry: &str) -> String {
    let faults = in_pool(entry).expect_err(entry);
    assert_eq!(faults.len(), 1, "{entry}: {faults:?}");
    faults[0]
        .strip_prefix("7:")
        .and_then(|line| line.split_once(": pools[0]."))
        .map_or_else(|| panic!("{entry}: {faults:?}"), |(column, line)| format!("{column}: {line}"))
}

#[test]
fn a_pool_needs_a_broker_that_is_not_a_backup() {
    assert_eq!(
        tail("        backup: true\n"),
        ["8:7: pools[0].upstreams: at least one upstream must not be a backup"]
    );
}

#[test]
fn the_total_weight_for_ketama_is_limited() {
    let with = |algorithm: &str, discover: &str, weight: u32| {
        format!(
            "listeners: [{{ name: l, bind: 127.0.0.1:0, pool: p }}]\n\
             pools:\n  - name: p\n    balance: {{ algorithm: {algorithm} }}\n\
             \x20   discover: {discover}\n    upstreams:\n\
             \x20     - {{ name: a, address: 10.0.0.1:1883, weight: 65535 }}\n\
             \x20     - {{ name: b, address: 10.0.0.2:1883, weight: {weight} }}\n"
        )
    };
    for discover in ["~", "{ dns: brokers.internal }"] {
        good(&with("rendezvous", discover, 2));
        good(&with("ketama", discover, 1));
        assert_eq!(
            faults(&with("ketama", discover, 2)),
            [
                "7:7: pools[0].upstreams: the weights add up to 65537; allowed for ketama, which has 160 \
              points for each unit: up to 65536"
            ]
        );
    }
}

#[test]
fn source_addresses_are_addresses_that_a_host_can_have() {
    let sources = |list: &str| pool(&format!("source_addresses: {list}")).source_addresses;
    assert_eq!(sources("[]"), [] as [IpAddr; 0]);
    let both: [IpAddr; 3] =
        ["10.9.8.7", "127.0.0.2", "2001:db8::1"].map(|address| address.parse().unwrap());
    assert_eq!(sources("[ \"${HOST}\", 127.0.0.2, \"2001:db8:0::1\" ]"), both);
    let allowed = "allowed: IP addresses of this host, without ports";
    for (list, said) in [
        ("10.0.0.2", "23: source_addresses: is a single value; allowed: a list".to_owned()),
        ("[ a ]", format!("25: source_addresses[0]: \"a\" is not an IP address; {allowed}")),
        (
            "[ 10.0.0.2, 10.0.0.3:0 ]",
            format!("35: source_addresses[1]: \"10.0.0.3:0\" is not an IP address; {allowed}"),
        ),
        (
            "[ \"[::1]\" ]",
            format!("25: source_addresses[0]: \"[::1]\" is not an IP address; {allowed}"),
        ),
        ("[ 0.0.0.0 ]", format!("25: source_addresses[0]: \"0.0.0.0\" is unspecified; {allowed}")),
        ("[ \"::\" ]", format!("25: source_addresses[0]: \"::\" is unspecified; {allowed}")),
        (
            "[ 224.0.0.1 ]",
            format!("25: source_addresses[0]: \"224.0.0.1\" is multicast; {allowed}"),
        ),
        (
            "[ \"ff02::1\" ]",
            format!("25: source_addresses[0]: \"ff02::1\" is multicast; {allowed}"),
        ),
        (
            "[ 255.255.255.255 ]",
            format!("25: source_addresses[0]: \"255.255.255.255\" is broadcast; {allowed}"),
        ),
        (
            "[ \"::ffff:10.0.0.2\" ]",
            format!(
                "25: source_addresses[0]: \"::ffff:10.0.0.2\" is IPv4 written as IPv6; {allowed}"
            ),
        ),
        (
            "[ \"fe80::1\" ]",
            format!("25: source_addresses[0]: \"fe80::1\" is link-local; {allowed}"),
        ),
        (
            "[ 10.0.0.2, 10.0.0.2 ]",
            "35: source_addresses[1]: 10.0.0.2 is listed twice; allowed: each address once"
                .to_owned(),
        ),
        // Written in two ways, it is still one.
        (
            "[ \"::1\", \"0:0::1\" ]",
            "32: source_addresses[1]: ::1 is listed twice; allowed: each address once".to_owned(),
        ),
    ] {
        assert_eq!(fault(&format!("source_addresses: {list}")), said);
    }
    let many = |count: u16| {
        let list: Vec<_> = (0..count).map(|n| format!("10.0.{}.{}", n >> 8, n & 255)).collect();
        format!("source_addresses: [ {} ]", list.join(", "))
    };
    assert_eq!(pool(&many(1000)).source_addresses.len(), 1000);
    assert_eq!(fault(&many(1001)), "23: source_addresses: has 1001 entries; allowed: up to 1000");
}

#[test]
fn source_addresses_do_not_apply_to_unix_sockets() {
    let unix = with("10.0.0.7:1883", "unix:/run/broker.sock");
    let with_sources = |text: &str, more: &str| {
        let entry = "    source_addresses: [ 127.0.0.2 ]\n";
        text.replace("    upstreams:\n", &format!("{entry}{more}    upstreams:\n"))
    };
    assert_eq!(
        faults(&with_sources(&unix, "")),
        ["7:23: pools[0].source_addresses: has no effect, as every upstream is a unix socket; \
          remove it"]
    );
    good(&with_sources(&unix, "    discover: { dns: brokers.internal }\n"));
    good(&format!(
        "{}      - {{ name: b2, address: \"10.0.0.8:1883\" }}\n",
        with_sources(&unix, "")
    ));
}

/// Discovered brokers come on top, and may be the primaries.
#[test]
fn discover_with_and_without_upstreams() {
    let (head, _) = SMALLEST.split_once("    upstreams:").unwrap();
    let alone = |discover: &str| format!("{head}    discover: {discover}\n");
    let srv = good(&alone("{ dns: _mqtt._tcp.brokers.internal. }")).pools.remove(0);
    assert!(srv.upstreams.is_empty());
    let discover = srv.discover.unwrap();
    assert_eq!(&*discover.dns, "_mqtt._tcp.brokers.internal.");
    assert_eq!(
        (discover.records, discover.interval),
        (Records::Srv { port: None }, Duration::from_secs(10))
    );
    let other_port = pool("discover: { dns: brokers.internal, port: 1883 }").discover.unwrap();
    assert_eq!(other_port.records, Records::Srv { port: Some(1883) });
    let a = pool("discover: { dns: localhost, type: a, port: 1883, interval: 24h }");
    assert_eq!(a.upstreams.len(), 1);
    let discover = a.discover.unwrap();
    assert_eq!(discover.records, Records::Addresses { port: 1883 });
    assert_eq!(discover.interval, Duration::from_hours(24));

    let backup = "        backup: true\n";
    let discover = "    discover: { dns: brokers.internal }\n";
    let text = with("    upstreams:\n", &format!("{discover}    upstreams:\n"));
    assert!(good(&format!("{text}{backup}")).pools[0].upstreams[0].backup);

    assert_eq!(
        faults(head),
        ["6:5: pools[0].upstreams: is required; allowed: a list of upstreams, or discover"]
    );
    // A null is no discover; a faulty one may be what is meant.
    assert_eq!(faults(&alone("~")).len(), 1);
    assert_eq!(
        faults(&alone("{ dns: 10.0.0.7 }")),
        [
            "7:22: pools[0].discover.dns: \"10.0.0.7\" is not a name in DNS; allowed: a name in DNS, \
          such as brokers.internal"
        ]
    );
}

#[test]
fn faults_of_discover() {
    for (entry, wrong) in [
        ("[]", "15: discover: is a list; allowed: a mapping of keys to values"),
        ("{}", "15: discover.dns: is required; allowed: a name in DNS, such as brokers.internal"),
        (
            "{ dns: \"brokers.internal:1883\" }",
            "22: discover.dns: \"brokers.internal:1883\" is not a name in DNS; allowed: a name in \
             DNS, such as brokers.internal",
        ),
        ("{ dns: b, type: aaaa }", "31: discover.type: \"aaaa\" is unknown; allowed: srv, a"),
        (
            "{ dns: b, type: a }",
            "15: discover.port: is required; allowed: a port from 1 to 65535, for type a",
        ),
        (
            "{ dns: b, type: a, port: 0 }",
            "40: discover.port: \"0\" is out of range; allowed: a whole number from 1 to 65535",
        ),
        (
            "{ dns: b, type: a, port: 65536 }",
            "40: discover.port: \"65536\" is out of range; allowed: a whole number from 1 to 65535",
        ),
        (
            "{ dns: b, type: a, port: \"1883\" }",
            "40: discover.port: \"1883\" is quoted; allowed: a whole number from 1 to 65535",
        ),
        (
            "{ dns: b, interval: 99ms }",
            "35: discover.interval: 99ms is out of range; allowed: 100ms to 24h",
        ),
        ("{ dns: b, dns: c }", "25: discover.dns: is there twice, first at line 7; keep one"),
        (
            "{ dns: b, typ: a }",
            "25: discover.typ: is an unknown key (did you mean type?); allowed: dns, type, port, \
             interval",
        ),
    ] {
        assert_eq!(fault(&format!("discover: {entry}")), wrong);
    }
    // Listed brokers that are all backups need others.
    let text = with("    upstreams:\n", "    discover: ~\n    upstreams:\n");
    assert_eq!(
        faults(&format!("{text}        backup: true\n")),
        ["9:7: pools[0].upstreams: at least one upstream must not be a backup"]
    );
    let text = with("    upstreams:\n", "    discover: { dns: b }\n    upstreams: []\n    x:\n");
    let said = "8:16: pools[0].upstreams: is an empty list; allowed: one entry or more";
    assert_eq!(faults(&text)[0], said);
}

#[test]
fn bounded_load_is_a_factor_above_one() {
    for (text, factor) in [("1.25", 1.25), ("1.01", 1.01), ("2", 2.0), ("100", 100.0)] {
        let pool = pool(&format!("balance: {{ bounded_load: {text} }}"));
        assert_eq!(pool.balance.bounded_load, Some(factor));
    }
    assert_eq!(pool("balance: { bounded_load: ~ }").balance.bounded_load, None);
    for (text, wrong) in [
        ("1.0", "\"1.0\" is out of range"),
        ("0", "\"0\" is out of range"),
        ("-1.25", "\"-1.25\" is out of range"),
        ("100.1", "\"100.1\" is out of range"),
        ("nan", "\"nan\" is not a number"),
        (".inf", "\".inf\" is not a number"),
        ("infinity", "\"infinity\" is not a number"),
        ("1e1", "\"1e1\" is not a number"),
        ("1e3", "\"1e3\" is not a number"),
        ("+2", "\"+2\" is not a number"),
        ("125%", "\"125%\" is not a number"),
        ("1.2.5", "\"1.2.5\" is not a number"),
        (".", "\".\" is not a number"),
        ("\"1.25\"", "\"1.25\" is quoted"),
        ("[1.25]", "is a list"),
    ] {
        let said = fault(&format!("balance: {{ bounded_load: {text} }}"));
        assert_eq!(
            said,
            format!("30: balance.bounded_load: {wrong}; allowed: a number from 1.01 to 100")
        );
    }
}

#[test]
fn retry_on_lists_reasons() {
    let on = |reasons: &str| {
        let on = pool(&format!("retry_on: {reasons}")).retry_on;
        [
            on.connect_failure,
            on.connect_timeout,
            on.no_connack,
            on.server_unavailable,
            on.server_busy,
            on.use_another_server,
        ]
    };
    for (n, reason) in [
        "connect_failure",
        "connect_timeout",
        "no_connack",
        "server_unavailable",
        "server_busy",
        "use_another_server",
    ]
    .iter()
    .enumerate()
    {
        let mut expected = [false; 6];
        expected[n] = true;
        assert_eq!(on(&format!("[{reason}]")), expected);
        // A set: said twice, it is the same.
        assert_eq!(on(&format!("[{reason}, {reason}]")), expected);
    }
    assert_eq!(on("[]"), [false; 6]);
    assert_eq!(on("~"), [true; 6]);
    let allowed = "allowed: connect_failure, connect_timeout, no_connack, server_unavailable, \
                   server_busy, use_another_server";
    for (reasons, wrong) in [
        ("[no_connack, refused]", format!("28: retry_on[1]: \"refused\" is unknown; {allowed}")),
        ("[~]", format!("16: retry_on[0]: is empty; {allowed}")),
        ("no_connack", "15: retry_on: is a single value; allowed: a list".into()),
        ("{ no_connack: true }", "15: retry_on: is a mapping; allowed: a list".into()),
    ] {
        assert_eq!(fault(&format!("retry_on: {reasons}")), wrong);
    }
}

#[test]
fn on_down_closes_or_keeps_sessions() {
    assert_eq!(pool("on_down: keep").on_down, OnDown::Keep);
    assert_eq!(pool("on_down: close").on_down, OnDown::Close);
    assert_eq!(pool("rebalance: { rate: 50 }").rebalance, NonZeroU32::new(50));
    assert_eq!(pool("slow_start: 1ms").slow_start, Some(Duration::from_millis(1)));
    let number = "allowed: a whole number from 1 to 4294967295";
    for (entry, wrong) in [
        ("on_down: drain", "14: on_down: \"drain\" is unknown; allowed: close, keep".into()),
        ("on_down: [close]", "14: on_down: is a list; allowed: close, keep".into()),
        (
            "rebalance: 50",
            "16: rebalance: is a single value; allowed: a mapping of keys to values".into(),
        ),
        (
            "rebalance: {}",
            "16: rebalance.rate: is required; allowed: sessions a second, from 1".into(),
        ),
        ("rebalance: { rate: 0 }", format!("24: rebalance.rate: \"0\" is out of range; {number}")),
        (
            "rebalance: { rate: 0.5 }",
            format!("24: rebalance.rate: \"0.5\" is not a whole number; {number}"),
        ),
        ("slow_start: 0s", "17: slow_start: 0s is out of range; allowed: 1ms to 8760h".into()),
        ("slow_start: 30", format!("17: slow_start: \"30\" has no unit; {DURATION}")),
    ] {
        assert_eq!(fault(entry), wrong);
    }
}

#[test]
fn admission_is_a_rate_with_a_burst_and_a_wait() {
    let admission = |keys: &str| {
        let admission = pool(&format!("admission: {{ {keys} }}")).admission.unwrap();
        (admission.rate.rate.get(), admission.rate.burst.get(), admission.max_wait)
    };
    assert_eq!(admission("rate: 500"), (500, 500, Duration::from_secs(5)));
    assert_eq!(admission("rate: 500, burst: 0"), (500, 500, Duration::from_secs(5)));
    let keys = "rate: 500, burst: 1000, max_wait: 2m";
    assert_eq!(admission(keys), (500, 1000, Duration::from_mins(2)));
    assert_eq!(admission("rate: 1, burst: 1, max_wait: 0s"), (1, 1, Duration::ZERO));
    let number = |least| format!("allowed: a whole number from {least} to 4294967295");
    for (keys, wrong) in [
        ("", "16: admission.rate: is required; allowed: CONNECTs a second, from 1".into()),
        ("rate: 0", format!("24: admission.rate: \"0\" is out of range; {}", number(1))),
        ("rate: \"5\"", format!("24: admission.rate: \"5\" is quoted; {}", number(1))),
        (
            "rate: 1, burst: -1",
            format!("34: admission.burst: \"-1\" is out of range; {}", number(0)),
        ),
        (
            "rate: 1, burst: 4294967296",
            format!("34: admission.burst: \"4294967296\" is out of range; {}", number(0)),
        ),
        ("rate: 1, max_wait: 5", format!("37: admission.max_wait: \"5\" has no unit; {DURATION}")),
        (
            "rate: 1, max_wait: 8761h",
            "37: admission.max_wait: 8761h is out of range; allowed: 0s to 8760h".into(),
        ),
        (
            "rate: 1, rate: 2",
            "27: admission.rate: is there twice, first at line 7; keep one".into(),
        ),
    ] {
        assert_eq!(fault(&format!("admission: {{ {keys} }}")), wrong);
    }
}
