//! Listeners that pass TLS through to their brokers.

use crate::{SMALLEST, faults, good, with};

/// The smallest configuration with `tls: passthrough`, and one more entry of the listener.
fn listener(entry: &str) -> String {
    with("    pool: brokers\n", &format!("    pool: brokers\n    tls: passthrough\n    {entry}\n"))
}

#[test]
fn a_word_in_place_of_the_section() {
    for tls in ["passthrough", "{ mode: passthrough }", "\"passthrough\""] {
        let text = with("    pool: brokers\n", &format!("    pool: brokers\n    tls: {tls}\n"));
        let config = good(&text);
        let listener = &config.listeners[0];
        assert!(listener.tls_passthrough && listener.tls.is_none());
        let printed = config.effective();
        assert!(printed.contains("\n  tls: passthrough\n"), "{printed}");
        assert!(good(printed).listeners[0].tls_passthrough);
    }
    assert!(!good(SMALLEST).listeners[0].tls_passthrough);
}

/// What needs the clients' MQTT is a fault, and so is what needs their TLS to end here.
#[test]
fn keys_that_need_what_tls_hides() {
    for (entry, wrong) in [
        ("websocket: {}", "websocket: cannot be combined with tls: passthrough"),
        ("protocols: [mqtt]", "protocols: cannot be combined with tls: passthrough"),
        ("require: [{ client_id: a }]", "require: cannot be combined with tls: passthrough"),
        ("rewrite: { username: a }", "rewrite: cannot be combined with tls: passthrough"),
        ("connect: lenient", "connect: cannot be combined with tls: passthrough"),
        ("rules: [{ name: r, when: { client_id: a }, pool: brokers }]", "client_id: is hidden by"),
        ("rules: [{ name: r, when: { will: true }, refuse: banned }]", "will: is hidden by"),
        ("rules: [{ name: r, when: { jwt.sub: a }, refuse: banned }]", "\"jwt.sub\": is hidden by"),
        ("rules: [{ name: r, redirect: a.example }]", "redirect: needs a CONNACK"),
    ] {
        let said = faults(&listener(entry));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(wrong), "{entry}: {said:?}");
    }
    for entry in [
        "connect: strict",
        "require: []",
        "timeouts: { idle: 10m }",
        "accept_proxy_protocol: { from: [10.0.0.0/8] }",
        "rules: [{ name: r, when: { sni: \"*.a\", source: 10.0.0.0/8, percent: 5 }, refuse: banned }]",
    ] {
        good(&listener(entry));
    }
    for (keys, count) in [("min_version: 1.3", 1), ("client_auth: none", 0), ("alpn: [mqtt]", 1)] {
        let tls = format!("    pool: brokers\n    tls: {{ mode: passthrough, {keys} }}\n");
        let text = with("    pool: brokers\n", &tls);
        let said = if count == 0 { Vec::new() } else { faults(&text) };
        assert_eq!(said.len(), count, "{said:?}");
        let what = "has no effect with mode passthrough";
        assert!(said.iter().all(|fault| fault.contains(what)), "{said:?}");
    }
}

/// The brokers would have to accept TLS inside TLS.
#[test]
fn pools_with_tls_of_their_own() {
    let tls = "    tls: { insecure_skip_verify: true }\n    upstreams:\n";
    let said = faults(&listener("connect: strict").replace("    upstreams:\n", tls));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("listeners[0].pool: brokers has `tls`, inside which"), "{said:?}");

    let by_rule = listener("rules: [{ name: r, pool: inner }]");
    let pool = "  - name: inner\n    tls: { insecure_skip_verify: true }\n    upstreams: [{ name: b, \
                address: \"10.0.0.8:8883\" }]\n";
    let said = faults(&format!("{by_rule}{pool}"));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("rules[0].pool: inner has `tls`"), "{said:?}");
}

#[test]
fn likely_mistakes() {
    let warnings = |text: &str| good(text).warnings();
    let in_pool = |entry: &str| {
        listener("connect: strict")
            .replace("    upstreams:\n", &format!("    {entry}\n    upstreams:\n"))
    };
    let by_address =
        "placed by source address (route fallback_key): set the key to sni or source_ip";
    for key in ["client_id", "username", "\"${sni}/${client_id}\"", "tls_cn", "jwt.sub"] {
        let key = if key.starts_with("jwt") { "\"${jwt.sub}\"" } else { key };
        let said = warnings(&in_pool(&format!("balance: {{ key: {key} }}")));
        assert!(matches!(&said[..], [one] if one.contains(by_address)), "{key}: {said:?}");
    }
    for key in ["sni", "source_ip", "\"${listener}-${sni}\"", "\"${username}@${sni}\""] {
        let said = warnings(&in_pool(&format!("balance: {{ key: {key} }}")));
        assert!(said.is_empty(), "{key}: {said:?}");
    }
    assert!(warnings(&in_pool("balance: { algorithm: round_robin }")).is_empty());

    let checked = in_pool("balance: { key: sni }\n    health: { active: { type: mqtt } }");
    let said = warnings(&checked);
    assert!(matches!(&said[..], [one] if one.contains("the checks will fail")), "{said:?}");

    let plain = "pools:\n";
    let other = "  - { name: plain, bind: \"0.0.0.0:1884\", pool: brokers }\npools:\n";
    let said = warnings(&in_pool("balance: { key: sni }").replace(plain, other));
    let what = "MQTT without TLS from listener plain";
    assert!(said.iter().any(|warning| warning.contains(what)), "{said:?}");
}
