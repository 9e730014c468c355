//! The configuration in force as text: it reads back as itself, and tells no secret.

use std::{fs, path::Path};

use mqtt_lb::testing::config::Config;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{SMALLEST, example, good};

fn env(name: &str) -> Option<String> {
    (name == "PROBE_USER").then(|| "t0psecret".to_owned())
}

fn parsed(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/t.yaml"), &env)
        .unwrap_or_else(|faults| panic!("{faults}\nof:\n{text}"))
}

/// TLS is never equal once it was read again, and its `Debug` is that of rustls.
fn comparable(config: &Config) -> String {
    let mut config = config.clone();
    config.listeners.iter_mut().for_each(|listener| listener.tls = None);
    // What is printed has other lines.
    let identities = config.listeners.iter_mut().map(|listener| &mut listener.identity);
    identities.flat_map(|identity| &mut identity.require).for_each(|required| required.line = 0);
    config.pools.iter_mut().for_each(|pool| pool.tls = None);
    format!("{config:?}")
}

fn reads_back(config: &Config) {
    let again = parsed(config.effective());
    assert_eq!(again.effective(), config.effective());
    assert_eq!(comparable(&again), comparable(config), "{}", config.effective());
}

#[test]
fn the_examples_read_back() {
    reads_back(&good(SMALLEST));
    reads_back(&good(example::EXAMPLE));
    let (_folder, text) = example::uncommented();
    let config = good(&text);
    reads_back(&config);
    let (tls, again) = (&config.listeners[0].tls, parsed(config.effective()));
    let (tls, again) = (tls.as_ref().unwrap(), again.listeners[0].tls.clone().unwrap());
    assert_eq!((&tls.certificates, &tls.revocation), (&again.certificates, &again.revocation));
    // A second time, nothing is left to fill in.
    let printed: Value = serde_yaml::from_str(config.effective()).unwrap();
    assert_eq!(printed["timeouts"]["tcp_keepalive"]["interval"], "10s");
    assert_eq!(printed["pools"][0]["tries"], 3);
}

#[test]
fn secrets_are_names_of_files_and_variables_stay_variables() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["admin.token", "probe.password"] {
        fs::write(folder.path().join(name), "s3cret\n").unwrap();
    }
    let folder = folder.path().display();
    let config = parsed(&format!(
        "{SMALLEST}    health:\n      active:\n        type: http\n        port: 80\n        username: \
         ${{PROBE_USER}}\n        password_file: {folder}/probe.password\n    tries: \
         ${{TRIES:-5}}\nadmin: {{ bind: 127.0.0.1:1, token_file: {folder}/admin.token }}\n"
    ));
    let printed = config.effective();
    assert!(!printed.contains("s3cret") && !printed.contains("t0psecret"), "{printed}");
    for line in ["username: ${PROBE_USER}\n", "tries: ${TRIES:-5}\n", "path: /\n", "- 200\n"] {
        assert!(printed.contains(line), "{line} in:\n{printed}");
    }
    assert!(printed.contains("/probe.password\n") && printed.contains("/admin.token\n"));
    assert_eq!(config.pools[0].tries.get(), 5);
    reads_back(&config);
}

fn millis(least: u64) -> BoxedStrategy<Value> {
    prop_oneof![
        (least..100_000_u64).prop_map(|n| json!(format!("{n}ms"))),
        (1..30_000_u64).prop_map(|n| json!(format!("{n}s"))),
        (1..24_u64).prop_map(|n| json!(format!("{n}h"))),
        Just(Value::Null),
    ]
    .boxed()
}

fn number(least: u64, most: u64) -> BoxedStrategy<Value> {
    prop_oneof![
        (least..=most).prop_map(Value::from),
        (least..=most).prop_map(|n| json!(format!("${{UNSET:-{n}}}"))),
    ]
    .boxed()
}

fn word(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    proptest::sample::select(words).prop_map(Value::from).boxed()
}

fn words(least: usize, words: &'static [&'static str]) -> BoxedStrategy<Value> {
    proptest::sample::subsequence(words, least..=words.len()).prop_map(|words| json!(words)).boxed()
}

fn text() -> BoxedStrategy<Value> {
    "[ -#%-~é日:#'\"]{1,20}".prop_map(Value::from).boxed()
}

fn keepalive() -> BoxedStrategy<Value> {
    let seconds = || (1..32_768_u64).prop_map(|n| json!(format!("{n}s")));
    let section = (seconds(), seconds(), number(1, 127)).prop_map(
        |(idle, interval, count)| json!({ "idle": idle, "interval": interval, "count": count }),
    );
    prop_oneof![seconds(), section, seconds().prop_map(|idle| json!({ "idle": idle }))].boxed()
}

/// A key that the smallest configuration does not have, and a value for it.
fn settings() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let u32_max = u64::from(u32::MAX);
    vec![
        ("/runtime/workers", prop_oneof![word(&["auto"]), number(1, 1024)].boxed()),
        ("/limits/max_connections", number(0, u32_max)),
        ("/limits/max_connections_per_ip", number(0, u32_max)),
        ("/limits/connects_per_ip/rate", number(0, u32_max)),
        ("/limits/connects_per_ip/burst", number(0, u32_max)),
        ("/limits/ipv6_prefix", number(1, 128)),
        ("/limits/connect_packet", number(64, 268_435_460)),
        ("/limits/connack_packet", word(&["64KiB", "1MiB", "65537", "256MiB"])),
        ("/timeouts/connect_packet", millis(1)),
        ("/timeouts/idle", prop_oneof![word(&["keepalive", "none"]), millis(1)].boxed()),
        ("/timeouts/half_close", millis(0)),
        ("/timeouts/tcp_keepalive", keepalive()),
        ("/timeouts/tcp_user_timeout", prop_oneof![word(&["auto"]), millis(1)].boxed()),
        ("/dns/servers", Just(json!(["10.0.0.53:53", "[2001:db8::53]:53"])).boxed()),
        ("/drain/timeout", millis(0)),
        ("/log/level", word(&["error", "warn", "info", "debug", "trace"])),
        ("/log/format", word(&["text", "json"])),
        ("/admin/bind", word(&["127.0.0.1:9883", "[::1]:9883", "unix:/dev/a.sock"])),
        ("/access_log/0/path", word(&["/dev/x", "/tmp/a b.log", "/dev/stdout"])),
        ("/access_log/0/format", word(&["json", "text", "${time} ${client_id}: \"#\""])),
        ("/access_log/0/events", words(1, &["connect", "disconnect", "reject", "probe"])),
        ("/access_log/0/when_full", word(&["block", "drop"])),
        ("/listeners/0/websocket/path", word(&["/mqtt", "/", "/a%20b"])),
        ("/listeners/0/protocols", Just(json!(["mqtt", "websocket"])).boxed()),
        ("/listeners/0/websocket/max_head", word(&["1KiB", "64KiB", "8000"])),
        ("/listeners/0/websocket/ping", word(&["1s", "24h", "1500ms"])),
        ("/listeners/0/websocket/subprotocols", words(1, &["mqtt", "none", "a.b!"])),
        ("/listeners/0/websocket/origins", words(1, &["https://a.example", "null"])),
        ("/listeners/0/websocket/forwarded_for", words(1, &["10.0.0.0/8", "::1", "fd00::/8"])),
        (
            "/listeners/0/accept_proxy_protocol",
            Just(json!({ "from": ["::1"], "required": false, "tlvs": ["0xEA", 48] })).boxed(),
        ),
        ("/listeners/0/accept_proxy_protocol/from", words(1, &["10.0.0.0/8", "::1", "10.0.0.7"])),
        (
            "/pools/0/balance/algorithm",
            word(&["rendezvous", "maglev", "ketama", "least_connections"]),
        ),
        ("/pools/0/balance/key", word(&["client_id", "${username}/${client_id}", "sni"])),
        ("/pools/0/balance/empty_client_id", word(&["username", "source_ip", "reject"])),
        (
            "/pools/0/balance/bounded_load",
            (101..10_000_u32).prop_map(|n| json!(f64::from(n) / 100.0)).boxed(),
        ),
        (
            "/pools/0/upstreams/0/name",
            word(&["0x10", "5", "no", "null", "~", "küche", "1.5", "true", "a#b"]),
        ),
        ("/pools/0/upstreams/0/weight", number(1, 65_535)),
        ("/pools/0/upstreams/0/max_connections", number(0, u32_max)),
        (
            "/pools/0/upstreams/0/address",
            word(&["b.internal:1883", "[::1]:1883", "unix:/run/b.sock"]),
        ),
        ("/pools/0/connect_timeout", millis(1)),
        ("/pools/0/connack_timeout", millis(1)),
        ("/pools/0/tries", number(1, u32_max)),
        ("/pools/0/retry_on", words(0, &["connect_failure", "no_connack", "server_busy"])),
        ("/pools/0/discover/dns", word(&["_mqtt._tcp.brokers.internal"])),
        ("/pools/0/discover/port", number(1, 65_535)),
        ("/pools/0/discover/interval", word(&["100ms", "24h", "90s"])),
        ("/pools/0/health/fail_open_percent", number(0, 100)),
        ("/pools/0/health/active/type", word(&["tcp", "mqtt"])),
        ("/pools/0/health/active/interval", word(&["100ms", "24h", "90s"])),
        ("/pools/0/health/active/timeout", millis(1)),
        ("/pools/0/health/active/rise", number(1, u32_max)),
        ("/pools/0/health/active/fall", number(1, u32_max)),
        ("/pools/0/health/passive/failures", number(0, u32_max)),
        ("/pools/0/health/passive/window", millis(1)),
        ("/pools/0/health/passive/eject_for", millis(1)),
        ("/pools/0/health/passive/max_ejected_percent", number(0, 100)),
        ("/pools/0/on_down", word(&["close", "keep"])),
        ("/pools/0/rebalance/rate", number(1, u32_max)),
        ("/pools/0/slow_start", millis(1)),
        ("/pools/0/admission/burst", number(0, u32_max)),
        ("/pools/0/admission/max_wait", millis(0)),
        ("/pools/0/send_proxy_protocol", word(&["none", "v1", "v2"])),
        ("/pools/1/health/active/username", text()),
        ("/pools/1/health/active/expect", Just(json!([0, 5])).boxed()),
    ]
}

/// Puts a value at a path, and the keys that it requires.
fn set(config: &mut Value, path: &str, value: Value) {
    let mut at = config;
    for key in path.split('/').skip(1) {
        at = match key.parse::<usize>() {
            Ok(index) => {
                if !at.is_array() {
                    *at = json!([]);
                }
                let list = at.as_array_mut().unwrap();
                list.resize(list.len().max(index + 1), json!({}));
                &mut list[index]
            }
            Err(_) => &mut at[key],
        };
    }
    *at = value;
}

fn generated() -> impl Strategy<Value = Value> {
    let settings = settings();
    let count = settings.len();
    let values: Vec<_> = settings.iter().map(|(_, strategy)| strategy.clone()).collect();
    let paths: Vec<_> = settings.iter().map(|(path, _)| *path).collect();
    (values, proptest::collection::vec(any::<bool>(), count)).prop_map(move |(values, chosen)| {
        let mut config: Value = serde_yaml::from_str(SMALLEST).unwrap();
        let second = json!({
            "name": "second",
            "upstreams": [{ "name": "b", "address": "b:1" }],
            "health": { "active": { "type": "mqtt" } },
        });
        config["pools"].as_array_mut().unwrap().push(second);
        for ((path, value), _) in paths.iter().zip(values).zip(chosen).filter(|(_, chosen)| *chosen)
        {
            set(&mut config, path, value);
        }
        if let Some(log) = config.pointer_mut("/access_log/0") {
            log["path"] = json!(log["path"].as_str().unwrap_or("/dev/stdout"));
        }
        for (section, key, value) in [
            ("/admin", "bind", json!("127.0.0.1:9883")),
            ("/pools/0/health/active", "type", json!("tcp")),
            ("/pools/0/discover", "dns", json!("b.internal")),
            ("/pools/0/admission", "rate", json!(5)),
        ] {
            if let Some(section) = config.pointer_mut(section).filter(|at| at.is_object())
                && section.get(key).is_none()
            {
                section[key] = value;
            }
        }
        config
    })
}

proptest! {
    #[test]
    fn every_configuration_reads_back(config in generated()) {
        reads_back(&parsed(&config.to_string()));
        reads_back(&parsed(&serde_yaml::to_string(&config).unwrap()));
    }
}
