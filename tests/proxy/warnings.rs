//! What is likely a mistake: said by `check`, which takes it, at the start and at a reload.

use std::fs;

use rustix::process::Signal;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{end, run, wait_for},
    routing::{ids, route},
    tls_client::Pki,
};

/// What `check` says of a file, which it takes.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lb.yaml");
    fs::write(&file, config.text()).unwrap();
    let output = run(&["check", "-c", file.to_str().unwrap()], "");
    assert!(output.status.success(), "{output:?}");
    let prefix = format!("{}: warning: ", file.display());
    let said = String::from_utf8(output.stderr).unwrap();
    said.lines().map(|line| line.strip_prefix(&prefix).expect(line).to_owned()).collect()
}

#[test]
fn keys_that_clients_do_not_have() {
    let broker = Broker::echoing();
    let pki = Pki::new();
    let of = |key: &str, listener: &str| {
        let config = Config::of([&broker]).pool(&format!("balance: {{ key: \"{key}\" }}"));
        warnings(&if listener.is_empty() { config } else { config.listener(listener) })
    };
    let tls = pki.tls("");
    let with_ca = pki.tls(&format!(", client_auth: optional{}", pki.file("client_ca", "ca.pem")));
    let said = |what: &str, why: &str| {
        vec![format!(
            "listener mqtt: balance.key of pool brokers needs {what}, which its clients do not have, \
             so they are placed by client ID (route fallback_key): give the listener \
             {why}, or the pool another key"
        )]
    };
    let certificate = said("a certificate", "client_auth: required");
    for (key, listener, expected) in [
        ("tls_cn", "", certificate.clone()),
        ("tls_cn", &*tls, certificate),
        ("tls_cn", &with_ca, vec![]),
        ("x-${tls_cn}", "accept_proxy_protocol: { from: [10.0.0.0/8] }", vec![]),
        ("sni", "", said("a server name", "tls")),
        ("sni", &tls, vec![]),
        ("${tls_cn}${sni}", "", said("a certificate and a server name", "tls")),
        ("${tls_cn}${sni}", &tls, vec![]),
        ("${sni}/${client_id}", "", vec![]),
        ("${sni}/${source_ip}", "", vec![]),
        ("username", "", vec![]),
    ] {
        assert_eq!(of(key, listener), expected, "{key} {listener}");
    }
}

/// TLVs that no listener keeps, and an ALPN that one of two protocols lacks.
#[test]
fn what_clients_of_a_listener_never_have() {
    let broker = Broker::echoing();
    let of = |passed: &str, kept: &str| {
        let config = Config::of([&broker])
            .pool(&format!("send_proxy_protocol: {{ version: v2, tlvs: {passed} }}"));
        let rules = format!("accept_proxy_protocol: {{ from: [10.0.0.0/8]{kept} }}");
        warnings(&config.listener(&rules))
    };
    let said = |what: &str| {
        vec![format!(
            "send_proxy_protocol.tlvs of pool brokers passes on {what}, which no listener keeps: \
             list the types in accept_proxy_protocol.tlvs of its listeners"
        )]
    };
    assert_eq!(of("all", ", tlvs: [0xEA]"), [""; 0]);
    assert_eq!(of("[0xEA]", ", tlvs: [0xEA, 0xE0]"), [""; 0]);
    assert_eq!(of("all", ""), said("all TLVs"));
    assert_eq!(of("[0xEA, 0x0E]", ", tlvs: [0xEA]"), said("0x0E"));

    let pki = Pki::new();
    let of = |alpn: &str, keys: &str| {
        let tls = pki.tls(&format!(", alpn: {alpn}"));
        warnings(&Config::of([&broker]).listener(keys).listener(&tls))
    };
    let both = "protocols: [mqtt, websocket]";
    assert_eq!(of("[http/1.1, mqtt]", both), [""; 0]);
    assert_eq!(of("[http/1.1]", "websocket: {}"), [""; 0]);
    assert_eq!(
        of("[http/1.1]", both),
        [
            "tls.alpn of listener mqtt has only http/1.1, so that clients of MQTT that offer a protocol, \
          such as mqtt, are refused: add mqtt, or remove alpn"
        ]
    );
}

#[test]
fn probes_that_are_not_waited_for() {
    let broker = Broker::echoing();
    let of = |timeouts: &str| warnings(&Config::of([&broker]).more(timeouts));
    assert_eq!(of("timeouts: { tcp_keepalive: 1h }"), [""; 0]);
    assert_eq!(of("timeouts: { tcp_keepalive: 20s, tcp_user_timeout: 27s }"), [""; 0]);
    assert_eq!(
        of("timeouts: { tcp_keepalive: 20s, tcp_user_timeout: 26s }"),
        ["timeouts.tcp_user_timeout: 26s is over before 3 keep-alive probes are (idle 20s, then \
          every 3s), so that fewer lost packets end a silent session: allow more than 26s, or leave \
          it to `auto`"]
    );
    let one = "timeouts: { tcp_keepalive: { idle: 60s, count: 1 }, tcp_user_timeout: 1s }";
    assert_eq!(of(one), [""; 0]);
}

/// A ban without a rate, and quotas by what no client has.
#[test]
fn limits_without_effect() {
    let broker = Broker::echoing();
    let of = |limits: &str| warnings(&Config::of([&broker]).more(&format!("limits: {limits}")));
    assert_eq!(of("{ handshakes_per_ip: { rate: 5, ban_for: 1m } }"), [""; 0]);
    assert_eq!(
        of(
            "{ handshakes_per_ip: { ban_for: 1m }, bad_credentials_per_ip: { rate: 0, ban_for: 1m } }"
        ),
        [
            "limits.handshakes_per_ip has ban_for and no rate, so it bans nothing: add a rate",
            "limits.bad_credentials_per_ip has ban_for and no rate, so it bans nothing: add a rate",
        ]
    );
    let quota =
        |key: &str| format!("{{ quotas: [{{ name: q, key: \"{key}\", max_connections: 9 }}] }}");
    assert_eq!(of(&quota("${client_id}/${username}")), [""; 0]);
    let said = |variable: &str, remedy: &str| {
        [format!(
            "quota q counts no client, as ${{{variable}}} has a value at no listener: {remedy}, \
             or choose another key"
        )]
    };
    assert_eq!(of(&quota("${sni}/${username}")), said("sni", "give a listener tls"));
    let jwt = "give a listener authenticate.jwt";
    assert_eq!(of(&quota("${jwt.tenant}")), said("jwt.tenant", jwt));
    let through = Config::of([&broker]).pool("balance: { key: sni }").listener("tls: passthrough");
    let with = |config: &Config, key: &str| {
        warnings(&config.clone().more(&format!("limits: {}", quota(key))))
    };
    assert_eq!(with(&through, "${sni}"), [""; 0]);
    let other = "add a listener without tls: passthrough, which hides it";
    assert_eq!(with(&through, "${client_id}"), said("client_id", other));
    let per_username = through.clone().more("limits: { max_connections_per_username: 5 }");
    assert_eq!(
        warnings(&per_username),
        [format!(
            "limits.max_connections_per_username counts no client, as ${{username}} has a value at \
             no listener: {other}, or remove the limit"
        )]
    );
}

/// At the start, and at a reload that brings it.
#[test]
fn a_reload_warns() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let warned = || proxy.stderr().iter().filter(|line| line.contains("fallback_key")).count();
    let by_name = Config::of([&broker]).pool("balance: { key: sni }");
    fs::write(proxy.config_file(), by_name.text()).unwrap();
    proxy.signal(Signal::HUP);
    wait_for("the warning", || (warned() == 1).then_some(()));
    let started = by_name.start();
    wait_for("the same at the start", || {
        started
            .stderr()
            .iter()
            .any(|line| line.contains("WARN") && line.contains("fallback_key"))
            .then_some(())
    });
}

/// A client without the fields of the key is on its broker all the same, time and again.
#[test]
fn clients_without_the_fields_of_the_key() {
    let brokers: Vec<_> = (0..4).map(|_| Broker::echoing()).collect();
    let by_id = Config::of(&brokers).start();
    for (key, empty) in
        [("tls_cn", "reject"), ("${sni}${tls_cn}", "username"), ("username", "source_ip")]
    {
        let balance = format!("balance: {{ key: \"{key}\", empty_client_id: {empty} }}");
        let proxy = Config::of(&brokers).pool(&balance).start();
        let ids = &ids()[..12];
        let orders = route(&by_id, &[], ids);
        assert_eq!(route(&proxy, &[], ids), orders);
        for id in ids.iter().chain(ids) {
            drop(Client::exchange(proxy.address(), &connect(4, id), CONNACK_V3));
        }
        for line in proxy.wait_ends(2 * ids.len()) {
            let at = ids.iter().position(|id| line["client_id"] == **id).unwrap();
            assert_eq!(line["upstream"], orders[at][0]);
            assert_eq!(line["route"], "fallback_key");
            assert_eq!(end(&line), "client/relay/closed");
        }
        assert_eq!(proxy.metric("mqtt_lb_routes_total", &["route=\"fallback_key\""]) as usize, 24);
    }
}
