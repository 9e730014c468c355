//! Configuration files, good and bad, and what is said of them.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

mod access_log;
mod addresses;
mod effective;
mod example;
mod fuzz;
mod health;
mod networks;
mod pools;
mod proxy_protocol;
mod quotas;
mod schema;
mod syntax;
mod tls;
mod values;
mod websocket;

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::Path,
    time::Duration,
};

use mqtt_lb::testing::config::{
    Address, Bind, Config, Faults, Idle, OnDown, TcpKeepalive, TcpUserTimeout, Workers,
};

const SMALLEST: &str = "\
listeners:
  - name: mqtt
    bind: 0.0.0.0:1883
    pool: brokers
pools:
  - name: brokers
    upstreams:
      - name: broker-1
        address: 10.0.0.7:1883
";

fn parse(text: &str) -> Result<Config, Faults> {
    let env = |name: &str| match name {
        "HOST" => Some("10.9.8.7".to_owned()),
        "FOLDER" => Some("/dev".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    Config::parse(text, Path::new("/etc/t.yaml"), &env)
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|faults| panic!("{text}\n{faults}"))
}

/// The lines said of a bad file, without the file's name.
fn faults(text: &str) -> Vec<String> {
    let faults = parse(text).expect_err(text);
    assert_eq!(faults.to_string().lines().count(), faults.iter().count());
    let line = |line: &str| line.strip_prefix("/etc/t.yaml:").expect("the file's name").to_owned();
    faults.to_string().lines().map(line).collect()
}

/// [`SMALLEST`] with one of its lines replaced.
fn with(line: &str, replacement: &str) -> String {
    assert_eq!(SMALLEST.matches(line).count(), 1, "{line}");
    SMALLEST.replace(line, replacement)
}

/// The smallest config with one more entry at the end, and what is said of it.
fn tail(end: &str) -> Vec<String> {
    faults(&format!("{SMALLEST}{end}"))
}

/// What is said of the smallest config with one more entry in its pool, which stands in line 7.
fn in_pool(entry: &str) -> Result<Config, Vec<String>> {
    let text = with("    upstreams:\n", &format!("    {entry}\n    upstreams:\n"));
    parse(&text).map_err(|_| faults(&text))
}

#[test]
fn defaults_of_the_smallest_config() {
    let config = good(SMALLEST);
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    assert_eq!(config.runtime.workers, Workers::Auto);
    assert_eq!(config.runtime.workers.count(), cores);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(&*config.listeners[0].name, "mqtt");
    assert_eq!(config.listeners[0].bind, Bind::Tcp("0.0.0.0:1883".parse().unwrap()));
    assert_eq!(config.listeners[0].pool, 0);
    let pool = &config.pools[0];
    assert_eq!(format!("{:?}", pool.balance.algorithm), "Rendezvous");
    assert_eq!(pool.balance.key, "client_id".parse().unwrap());
    assert_eq!(format!("{:?}", pool.balance.empty_client_id), "LeastConnections");
    assert_eq!(pool.connect_timeout, Duration::from_secs(1));
    assert_eq!(pool.connack_timeout, Duration::from_secs(10));
    assert_eq!(pool.tries.get(), 3);
    let all = "RetryOn { connect_failure: true, connect_timeout: true, no_connack: true, \
               server_unavailable: true, server_busy: true, use_another_server: true }";
    assert_eq!(format!("{:?}", pool.retry_on), all);
    let passive =
        "Some(Passive { failures: 5, window: 30s, eject_for: 30s, max_ejected_percent: 50 })";
    assert_eq!(format!("{:?}", pool.health.passive), passive);
    assert_eq!(pool.health.fail_open_percent, NonZeroU32::new(90));
    assert_eq!(pool.on_down, OnDown::Close);
    assert!(config.listeners[0].proxy_protocol.is_none() && pool.send_proxy_protocol.is_none());
    assert!(pool.discover.is_none() && pool.health.active.is_none() && pool.admission.is_none());
    let absent = (pool.balance.bounded_load, pool.rebalance, pool.slow_start);
    assert_eq!(absent, (None, None, None));
    let upstream = &pool.upstreams[0];
    assert_eq!(upstream.address, Address::Ip("10.0.0.7:1883".parse().unwrap()));
    assert_eq!(
        (upstream.weight.get(), upstream.max_connections, upstream.backup),
        (1, None, false)
    );
    assert_eq!(config.limits.max_connections, None);
    assert_eq!(config.limits.max_connections_per_ip, None);
    assert!(config.limits.connects_per_ip.is_none());
    assert_eq!(config.limits.ipv6_prefix, 64);
    assert_eq!(config.limits.connect_packet, 65_536);
    assert_eq!(config.timeouts.connect_packet, Duration::from_secs(10));
    assert_eq!(config.timeouts.idle, Idle::KeepAlive);
    assert_eq!(config.timeouts.half_close, Duration::from_secs(30));
    let keepalive =
        TcpKeepalive { idle: Duration::from_mins(1), interval: Duration::from_secs(10), count: 3 };
    assert_eq!(config.timeouts.tcp_keepalive, keepalive);
    assert_eq!(config.timeouts.tcp_user_timeout, TcpUserTimeout::Auto);
    assert_eq!(config.dns.servers, []);
    assert_eq!(config.drain.timeout, Duration::from_secs(30));
    assert!(config.access_log.is_empty());
    assert_eq!(format!("{:?}", config.log), "Log { level: Info, format: Text }");
    assert!(config.admin.is_none());
}

#[test]
fn the_fault_of_an_empty_file_shows_the_smallest_config() {
    for text in ["", "\n# nothing\n", "~", "null", "\u{feff}"] {
        let line = faults(text).remove(0);
        let (_, smallest) = line.split_once("is empty; the smallest config is ").expect(&line);
        assert_eq!(format!("{:?}", good(smallest)), format!("{:?}", good(SMALLEST)));
    }
}

#[test]
fn every_fault_of_a_file_is_reported_in_its_order() {
    let text = r#"listeners:
  - name: mqtt
    bind: 0.0.0.0:1883
    pool: brokrs
    tls: {}
  - name: mqtt
    bind: 127.0.0.1:1883
  - 5
pools:
  - name: brokers
    balence: {}
    upstreams:
      - { name: b 1, address: 10.0.0.7, weight: 0, backup: yes }
      - { name: b1, name: b2, address: "${UNSET}:1883" }
    connect_timeout: 10
    tries: -1
limits: [1]
timeouts: { idle: 0s }
admin: { bind: 0.0.0.0:9883 }
access_log:
  - { path: /no/such/x.log, format: jsn, when_full: }
"#;
    assert_eq!(
        faults(text),
        [
            "4:11: listeners[0].pool: \"brokrs\" is not a pool; allowed: brokers",
            "5:10: listeners[0].tls.certificates: is required; allowed: a list of { cert, key }",
            "6:5: listeners[1].pool: is required; allowed: the name of a pool",
            "6:11: listeners[1].name: \"mqtt\" is taken at line 2; allowed: a name of its own",
            "7:11: listeners[1].bind: overlaps listeners[0].bind; allowed: an address or port of its \
             own",
            "8:5: listeners[2]: is a single value; allowed: a mapping of keys to values",
            "11:5: pools[0].balence: is an unknown key (did you mean balance?); allowed: name, \
             balance, upstreams, discover, connect_timeout, connack_timeout, tries, retry_on, \
             health, on_down, rebalance, slow_start, admission, tls, source_addresses, \
             send_proxy_protocol",
            "13:17: pools[0].upstreams[0].name: \"b 1\" is not a name; allowed: printable text \
             without spaces, quotes, backslashes and ${",
            "13:31: pools[0].upstreams[0].address: \"10.0.0.7\" has no valid port; allowed: IP:PORT, \
             \"[IPV6]:PORT\", HOST:PORT or unix:/PATH",
            "13:49: pools[0].upstreams[0].weight: \"0\" is out of range; allowed: a whole number \
             from 1 to 65535",
            "13:60: pools[0].upstreams[0].backup: \"yes\" is unknown; allowed: true, false",
            "14:21: pools[0].upstreams[1].name: is there twice, first at line 14; keep one",
            "14:40: pools[0].upstreams[1].address: the environment variable \"UNSET\" is not set; \
             allowed: ${NAME} of a variable that is set, or ${NAME:-default}",
            "15:22: pools[0].connect_timeout: \"10\" has no unit; allowed: a whole number with ms, \
             s, m or h, such as 500ms, 10s, 5m, 1h",
            "16:12: pools[0].tries: \"-1\" is out of range; allowed: a whole number from 1 to \
             4294967295",
            "17:9: limits: is a list; allowed: a mapping of keys to values",
            "18:19: timeouts.idle: 0s is out of range; allowed: 1ms to 8760h",
            "19:16: admin.bind: can be reached from other hosts and has no token_file; allowed: a \
             loopback address, unix:/PATH, or a token_file",
            "21:13: access_log[0].path: the folder of \"/no/such/x.log\" is missing; allowed: a \
             folder that exists",
            "21:37: access_log[0].format: \"jsn\" is not a format; allowed: json, text, or one line \
             with ${field} variables",
        ]
    );
}

#[test]
fn missing_and_empty_sections_are_faults() {
    assert_eq!(
        faults("log: {}"),
        [
            "1:1: pools: is required; allowed: a list of pools",
            "1:1: listeners: is required; allowed: a list of listeners",
        ]
    );
    assert_eq!(
        faults("listeners: []\npools: []\n"),
        [
            "1:12: listeners: is an empty list; allowed: one entry or more",
            "2:8: pools: is an empty list; allowed: one entry or more",
        ]
    );
    assert_eq!(
        faults("listeners: [{}]\npools: [{ upstreams: [{}] }]\naccess_log: [{}]\nadmin: {}\n"),
        [
            "1:13: listeners[0].name: is required; allowed: a name",
            "1:13: listeners[0].bind: is required; allowed: IP:PORT, \"[IPV6]:PORT\" or unix:/PATH",
            "1:13: listeners[0].pool: is required; allowed: the name of a pool",
            "2:9: pools[0].name: is required; allowed: a name",
            "2:23: pools[0].upstreams[0].name: is required; allowed: a name",
            "2:23: pools[0].upstreams[0].address: is required; allowed: IP:PORT, \
             \"[IPV6]:PORT\", HOST:PORT or unix:/PATH",
            "3:14: access_log[0].path: is required; allowed: the path of a file; or stdout or syslog \
             instead",
            "4:8: admin.bind: is required; allowed: IP:PORT, \"[IPV6]:PORT\" or unix:/PATH",
        ]
    );
    // A section whose keys are all commented out is absent.
    good(&format!("{SMALLEST}limits:\n  # none\ntimeouts: ~\naccess_log:\n"));
}

#[test]
fn names_are_unique_and_listeners_name_known_pools() {
    let second = "        address: 10.0.0.7:1883\n      - { name: broker-1, address: b:1 }\n";
    assert_eq!(
        faults(&with("        address: 10.0.0.7:1883\n", second)),
        ["10:17: pools[0].upstreams[1].name: \"broker-1\" is taken at line 8; allowed: a name of \
             its own"]
    );
    let pools = "  - { name: brokers, upstreams: [{ name: broker-1, address: b:1 }] }\n  \
                 - { name: others, upstreams: [{ name: broker-1, address: b:1 }] }\n";
    assert_eq!(
        tail(pools),
        ["10:13: pools[1].name: \"brokers\" is taken at line 6; allowed: a name of its own"]
    );
    let (head, _) = SMALLEST.split_once("  - name: brokers").unwrap();
    let config = good(&format!(
        "{head}{}",
        pools.replacen("brokers", "first", 1).replace("others", "brokers")
    ));
    assert_eq!(config.listeners[0].pool, 1);
    // A pool whose name cannot be read may be the one that is meant.
    assert_eq!(faults(&with("  - name: brokers\n", "  - name: bro kers\n")).len(), 1);
    assert_eq!(faults(&with("  - name: brokers\n", "  - 5\n  - name: other\n")).len(), 1);
    // One whose name is readable is not.
    assert_eq!(
        faults(&with("  - name: brokers\n", "  - name: b\n    tries: 0\n")),
        [
            "4:11: listeners[0].pool: \"brokers\" is not a pool; allowed: b",
            "7:12: pools[0].tries: \"0\" is out of range; allowed: a whole number from 1 to \
             4294967295",
        ]
    );
    for name in ["\"\"", "a b", "\"a\\tb\"", "\"a\\\"b\"", "a'b", "a\\b", "\"a\\u200bb\""] {
        let lines = faults(&with("name: mqtt", &format!("name: {name}")));
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        assert!(lines[0].contains("is not a name"), "{lines:?}");
    }
    for name in ["5", "0x10", "no", "\"null\"", "küche", "b-1.mqtt:1883", "日本"] {
        let config = good(&with("name: broker-1", &format!("name: {name}")));
        assert_eq!(&*config.pools[0].upstreams[0].name, name.trim_matches('"'));
    }
}
