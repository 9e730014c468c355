//! `config.yaml.example` says what the code does.

use std::{fs, time::Duration};

use mqtt_lb::testing::config::{Bind, LogTarget, Probe, Records};
use tempfile::TempDir;

use crate::{
    SMALLEST, faults, good,
    tls::pki::{Ca, Issued, Leaf},
    with,
};

pub(crate) const EXAMPLE: &str = include_str!("../../config.yaml.example");

/// The example with the keys in it that are commented out, and the folder that its files are in.
/// The key of RFC 8037, appendix A.2.
const JWK_SET: &str = r#"{ "keys": [ { "kty": "OKP", "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" } ] }"#;

pub(crate) fn uncommented() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        text += &uncomment(line).unwrap_or_else(|| line.to_owned());
        text += "\n";
    }
    let ca = Ca::new("ca");
    let Issued { cert, key, .. } = ca.issue(&Leaf::new("device", &["broker.internal"]));
    let (ca, crl, secret) = (ca.pem(), ca.crl(&[], 2030), "s3cret\n".to_owned());
    for (name, contents) in [
        ("admin.token", &secret),
        ("probe.password", &secret),
        ("fullchain.pem", &cert),
        ("privkey.pem", &key),
        ("clients-ca.pem", &ca),
        ("clients.crl", &crl),
        ("ticket.keys", &"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=".to_owned()),
        ("brokers-ca.pem", &ca),
        ("client.pem", &cert),
        ("client.key", &key),
        ("broker.password", &secret),
        ("jwks.json", &JWK_SET.to_owned()),
        ("stolen-ids.txt", &"device-7\n".to_owned()),
        ("banned-networks.txt", &"192.0.2.0/24\n".to_owned()),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, contents).unwrap();
        assert_eq!(text.matches(name).count(), 1, "{name}");
        text = text.replace(name, file.to_str().unwrap());
    }
    (folder, text)
}

/// The line without its mark, if it is that of a key.
fn uncomment(line: &str) -> Option<String> {
    let (indent, entry) = line.split_once("# ").filter(|(indent, _)| indent.trim().is_empty())?;
    let entry_of_list = entry.trim_start().trim_start_matches("- ");
    let (key, _) = entry_of_list.split_once(':')?;
    let is_key =
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.'));
    is_key.then(|| format!("{indent}{entry}"))
}

#[test]
fn unknown_words_are_faults() {
    let balance = |entry: &str| {
        faults(&with("    upstreams:\n", &format!("    balance: {{ {entry} }}\n    upstreams:\n")))
    };
    assert_eq!(
        balance("empty_client_id: hash"),
        ["7:33: pools[0].balance.empty_client_id: \"hash\" is unknown; \
             allowed: least_connections, username, source_ip, assign, reject"]
    );
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

/// What the example suggests can be used as it stands.
#[test]
fn the_examples_commented_keys_are_good() {
    let (_folder, text) = uncommented();
    let config = good(&text);
    let access = &config.listeners[0].access;
    let denied = |ip: &str| access.denied(ip.parse().unwrap()).is_some();
    assert!(!denied("10.1.2.3") && denied("11.1.2.3") && denied("192.0.2.7"));
    let balancers = config.listeners[0].proxy_protocol.as_ref().unwrap();
    assert!(balancers.is_from(Some("10.1.2.3".parse().unwrap())) && !balancers.unix);
    let websocket = config.listeners[0].websocket.as_ref().unwrap();
    assert_eq!(websocket.origins.as_deref().unwrap(), ["https://app.example".into()]);
    assert!(websocket.forwarded_for.contains("10.255.0.1".parse().unwrap()));
    let pool = &config.pools[0];
    assert_eq!(pool.balance.bounded_load, Some(1.25));
    assert_eq!(pool.rebalance.unwrap().get(), 50);
    assert_eq!(pool.slow_start, Some(Duration::from_secs(30)));
    let admission = pool.admission.unwrap();
    assert_eq!((admission.rate.rate.get(), admission.rate.burst.get()), (500, 1000));
    let discover = pool.discover.as_ref().unwrap();
    assert_eq!(&*discover.dns, "_mqtt._tcp.brokers.internal");
    assert_eq!(discover.records, Records::Srv { port: None });
    let probe = &pool.health.active.as_ref().unwrap().probe;
    assert!(matches!(probe, Probe::Mqtt { username: Some(_), password: Some(_), .. }), "{probe:?}");
    assert!(config.listeners[0].tls.as_ref().unwrap().revocation.is_some());
    let tls = pool.tls.as_ref().unwrap();
    assert_eq!((tls.insecure, tls.certificates.len()), (false, 1));
    assert_eq!(config.dns.servers.len(), 2);
    assert_eq!(config.admin.as_ref().unwrap().token.as_ref().unwrap().reveal(), "s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
    let [shown, file, syslog] = &config.access_log[..] else { panic!("{:?}", config.access_log) };
    assert_eq!(shown.to, LogTarget::Stdout);
    let rotate = file.rotate.unwrap();
    assert_eq!((rotate.size, rotate.age), (Some(100 << 20), Some(Duration::from_hours(24))));
    let least = "access_log: [{ path: /var/log/access.log, rotate: { size: 1MiB } }, \
                 { syslog: { to: \"tcp://127.0.0.1:601\" } }]\n";
    let least = good(&format!("{SMALLEST}{least}")).access_log;
    assert_eq!((rotate.keep, syslog), (least[0].rotate.unwrap().keep, &least[1]));

    // The other types of discover and of checks, whose keys are commented out once more.
    let other = |text: &str, from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replace(from, to)
    };
    let mut text = other(&other(&text, "type: srv", "type: a"), "type: mqtt", "type: http");
    text = other(&text, "expect: [0]", "expect: [200]");
    for line in ["    #   # port: 1883", "      #   # port: 18083", "      #   # path: /api/"] {
        let (before, after) = text.split_once(&format!("\n{line}")).expect(line);
        text = format!("{before}\n{}{after}", line.replacen("# ", "", 2));
    }
    let config = good(&text);
    let pool = &config.pools[0];
    assert_eq!(pool.discover.as_ref().unwrap().records, Records::Addresses { port: 1883 });
    let probe = format!("{:?}", pool.health.active.as_ref().unwrap().probe);
    assert_eq!(
        probe,
        "Http { port: 18083, path: \"/api/v5/load_rebalance/availability_check\", expect: [200], \
         login: Some((\"probe\", (secret))) }"
    );
}

/// Every section says which keys it knows when it meets one that it does not; each of them is in
/// the example already, so that a second one is one too many.
#[test]
fn the_example_has_every_key() {
    let (_folder, text) = uncommented();
    let mut keys = 0;
    for line in [
        "runtime:",
        "  workers: ",
        "    bind: 0.0.0.0",
        "      client_auth: ",
        "          key: ",
        "        file: ",
        "      from: ",
        "      path: /mqtt",
        "        keys: ",
        "      username: ",
        "          value: ",
        "      idle: keepalive",
        "      algorithm: ",
        "        address: ",
        "    tries: ",
        "      dns: ",
        "      fail_open_percent: ",
        "        type: mqtt",
        "        failures: ",
        "      rate: 50\n",
        "      burst: ",
        "      server_name: ",
        "  max_connections: ",
        "      max_connections: ",
        "    rate: ",
        "  connect_packet: 10s",
        "  servers: ",
        "  timeout: ",
        "    format: json",
        "      size: ",
        "      to: tcp",
        "  level: ",
        "  bind: 127",
    ] {
        let (before, _) = text.split_once(&format!("\n{line}")).expect(line);
        let after = &text[before.len()..];
        let indent = &line[..line.len() - line.trim_start().len()];
        let said = |key: &str| faults(&format!("{before}\n{indent}{key}: ~{after}"));
        let unknown = said("no_such_key").join("\n");
        let (_, allowed) = unknown.split_once("unknown key; allowed: ").expect(&unknown);
        for key in allowed.split(", ") {
            // The one key of a type that is not shown; an empty one is absent.
            if (line, key) == ("      dns: ", "port") {
                assert!(EXAMPLE.contains("    #   # port: 1883\n"));
            } else if line == "    format: json" && ["stdout", "syslog", "rotate"].contains(&key) {
                // Of logs that go elsewhere.
                assert!(EXAMPLE.contains(&format!("{key}:")));
            } else if (line, key) == ("      path: /mqtt", "paths") {
                assert!(EXAMPLE.contains("Several paths, in place of path.\n"));
            } else if (line, key) == ("      client_auth: ", "mode") {
                // It excludes the other keys.
                assert!(EXAMPLE.contains("# mode: passthrough\n"));
            } else if (line, key) == ("          key: ", "ocsp") {
                assert!(EXAMPLE.contains("# ocsp: ocsp.der\n"));
            } else if (line, key) == ("      username: ", "password") {
                assert!(EXAMPLE.contains("Or password: none"));
            } else {
                let twice = said(key).join("\n");
                assert!(twice.contains(&format!("{key}: is there twice")), "{key}: {twice}");
            }
            keys += 1;
        }
    }
    // So many as there were when every section had been visited: a section that is missed above
    // makes it fewer.
    assert_eq!(keys, 168);
}

/// serde_yaml shares no code with the reader of this crate: what it makes of a text, written out
/// again as JSON and as YAML of its own style, must be the same configuration.
#[test]
fn another_yaml_reader_agrees() {
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
