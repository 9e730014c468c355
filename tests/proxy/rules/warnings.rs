//! What `check` says of rules that are likely a mistake.

use super::TwoPools;
use crate::{config::Config, warnings::warnings};

/// The warnings about these rules, with `other` reached by another listener.
fn of(rules: &str) -> Vec<String> {
    warnings(&reached(&TwoPools::new().with(rules)))
}

/// A last rule that no client reaches names the pool, so that there is no warning about it.
fn reached(config: &Config) -> Config {
    config.clone().another_listener("name: second, rules: [{ name: all, pool: other }]")
}

fn never(rule: &str, why: &str) -> String {
    format!("rule {rule} of listener mqtt never holds, because rule {why}")
}

#[test]
fn rules_behind_others() {
    const ALL: &str =
        "a before it holds for all of its clients: put it before that one, or remove it";
    for (first, second, why) in [
        ("", "client_id: x", Some(ALL)),
        ("percent: 100", "percent: 20", Some(ALL)),
        ("client_id: \"*\"", "client_id: [x, \"y*\"]", Some(ALL)),
        ("client_id: [\"y*\", x, z]", "client_id: [x, \"y*\", y-1], will: true", Some(ALL)),
        ("client_id: \"y*\"", "client_id: [x, \"y*\"]", None),
        ("client_id: \"y*\"", "client_id: \"y-*\"", None),
        ("client_id: \"*\"", "username: x", None),
        ("client_id: x", "", None),
        ("source: [10.0.0.0/8]", "source: [10.0.0.0/9, 10.128.0.0/9]", Some(ALL)),
        ("source: [10.0.0.0/8]", "source: [10.0.0.0/9]", None),
        ("protocol_version: [3.1.1, 5.0]", "protocol_version: 5.0", Some(ALL)),
        ("protocol_version: 5.0", "protocol_version: [3.1.1, 5.0]", None),
        ("will: true", "will: true, clean_start: true", Some(ALL)),
        ("will: true", "will: false", None),
        ("percent: 20", "", None),
        ("percent: 20", "percent: 30", None),
        // To be raised.
        ("percent: 20", "percent: 0", None),
        (
            "percent: 20",
            "username: x, percent: 20",
            Some(
                "a before it holds for its 20 % of the clients, as they are among 20 %: put it \
                 before that one, or remove it",
            ),
        ),
    ] {
        let rules = format!(
            "{{ name: a, when: {{ {first} }}, refuse: banned }}, \
             {{ name: b, when: {{ {second} }}, pool: other }}"
        );
        let wanted: Vec<_> = why.into_iter().map(|why| never("b", why)).collect();
        assert_eq!(of(&rules), wanted, "{first} {second}");
    }
}

#[test]
fn facts_that_clients_do_not_have() {
    for (when, needs) in [
        (
            "sni: x.example",
            "sni needs a server name, which its clients do not have: give the listener tls",
        ),
        (
            "tls_san_uri: x",
            "tls_san_uri needs a certificate, which its clients do not have: give the listener \
             client_auth: required",
        ),
        (
            "jwt.tenant: x",
            "jwt.tenant needs a token, which its clients do not have: give the listener \
             authenticate.jwt",
        ),
        (
            "path: /x",
            "path needs a path, which its clients do not have: give the listener websocket",
        ),
        (
            "client_id: [\"${sni}-*\", \"*-${tls_cn}\"]",
            "client_id needs a server name, which its clients do not have: give the listener tls",
        ),
    ] {
        let rules = format!("{{ name: a, when: {{ {when} }}, pool: other }}");
        let wanted =
            format!("rule a of listener mqtt never holds: {needs}, or remove the condition");
        assert_eq!(of(&rules), [wanted]);
    }
    assert_eq!(of("{ name: a, when: { client_id: [\"${sni}-*\", x] }, pool: other }"), [""; 0]);
}

#[test]
fn redirects_to_the_proxy_itself() {
    let warns = |bind: &str, server: &str| {
        let pools = TwoPools::new();
        let rule = format!("{{ name: a, when: {{ username: x }}, redirect: \"{server}\" }}");
        !warnings(&reached(&pools.with(&rule).bind(bind))).is_empty()
    };
    for (bind, server, expected) in [
        ("127.0.0.1:18830", "127.0.0.1:18830", true),
        ("127.0.0.1:18830", "127.0.0.1", true),
        ("127.0.0.1:18830", "localhost:18830", true),
        ("0.0.0.0:18830", "localhost:18830", true),
        ("[::1]:18830", "[::1]:18830", true),
        ("127.0.0.1:18830", "127.0.0.1:18831", false),
        ("127.0.0.1:18830", "127.0.0.2:18830", false),
        ("0.0.0.0:18830", "10.0.0.1:18830", false),
        ("0.0.0.0:18830", "mqtt.example:18830", false),
        ("127.0.0.1:0", "127.0.0.1", false),
    ] {
        assert_eq!(warns(bind, server), expected, "{bind} {server}");
    }
}

#[test]
fn pools() {
    let pools = TwoPools::new();
    assert_eq!(
        warnings(&pools.config),
        [
            "pool other gets no clients, as neither a listener nor a rule names it: write pool: other \
          there, or remove it"
        ]
    );
    let keyed = |keys: &str| {
        let config = Config::of([&pools.main]).another_pool("other", &pools.other, keys);
        config.listener("rules: [{ name: a, when: { percent: 5 }, pool: other }]")
    };
    let assigns = "balance: { empty_client_id: assign }";
    assert_eq!(
        warnings(&keyed(assigns)),
        ["rule a of listener mqtt: empty_client_id: assign of pool other assigns no IDs there, \
          because they are assigned before the rules, as pool brokers of the listener says: set it \
          there, too"]
    );
    assert_eq!(warnings(&keyed(assigns).pool(assigns)), [""; 0]);
    let absent = warnings(&keyed("balance: { key: sni }"));
    assert!(absent[0].contains("balance.key of pool other needs a server name"), "{absent:?}");
}
