//! What operators do, and what happens to brokers, while TLS is passed through.

use std::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{PASSTHROUGH, config, hello, recording_broker, server_name, tls_broker};
use crate::{
    broker::{Broker, echo},
    client::Client,
    config::Config,
    harness::{PATIENCE, Proxy, end, run, wait_for},
    proxy_header::{raw_v2, tlv, v1},
    proxy_protocol_out::read_header,
    reload::take,
    tls_client::{Pki, TlsClient},
    tls_upstream::serve,
};

fn named(name: &str) -> Vec<u8> {
    hello(&[(0, &server_name(name.as_bytes()))])
}

/// A session with a recording broker.
#[track_caller]
fn session(proxy: &Proxy, name: &str) -> Client {
    let hello = named(name);
    Client::exchange(proxy.address(), &hello, &hello)
}

#[track_caller]
fn ended(proxy: &Proxy, name: &str) -> Value {
    proxy.wait_log(name, |line| line["sni"] == name && line["event"] == "disconnect")
}

#[test]
fn the_api_shows_and_ends_sessions() {
    let (broker, _) = recording_broker();
    let proxy = config([&broker]).start();
    let mut client = session(&proxy, "eu.example");
    proxy.wait_log("the session", |line| line["event"] == "connect");
    let answer = proxy.get("/api/v1/sessions?listener=mqtt");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let page: Value = serde_json::from_str(body).unwrap();
    let shown = &page["sessions"][0];
    assert_eq!((&shown["sni"], &shown["upstream"]), (&"eu.example".into(), &"b1".into()));
    assert_eq!(shown["transport"], "tls_passthrough");
    for hidden in ["client_id", "protocol_version", "keepalive", "clean_start", "username"] {
        assert_eq!(shown.get(hidden), None, "{hidden}");
    }
    assert!(proxy.get("/api/v1/sessions?client_id=").contains("\"sessions\":[]"));
    for (query, is_found) in [
        ("sni=eu.example", true),
        ("sni=EU.example&source=127.0.0.1", true),
        ("source=::ffff:127.0.0.1", true),
        ("sni=us.example", false),
        ("source=127.0.0.2", false),
    ] {
        let answer = proxy.get(&format!("/api/v1/sessions?{query}"));
        assert_eq!(answer.contains("\"sni\":\"eu.example\""), is_found, "{query}: {answer}");
    }
    assert!(proxy.get("/api/v1/sessions?source=x").contains("allowed: an IP address"));
    let admin = proxy.admin().to_string();
    for (wanted, is_found) in [("eu.example", true), ("us.example", false)] {
        let listed = run(&["ctl", "--admin", &admin, "sessions", "--sni", wanted], "");
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.contains("(sni: eu.example)"), is_found, "{wanted}: {listed}");
    }
    let listed = run(&["ctl", "--admin", &admin, "sessions"], "");
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("(sni: eu.example)"), "{listed}");
    let kicked = run(&["ctl", "--admin", &admin, "kick", shown["id"].as_str().unwrap()], "");
    assert!(kicked.status.success(), "{kicked:?}");
    client.expect_end();
    assert_eq!(end(&ended(&proxy, "eu.example")), "proxy/relay/kicked");
}

#[test]
fn a_drain_ends_sessions() {
    let (broker, _) = recording_broker();
    let mut proxy = config([&broker]).more("drain: { timeout: 0s }").start();
    let mut client = session(&proxy, "eu.example");
    proxy.signal(Signal::TERM);
    client.expect_end();
    assert!(proxy.wait_exit().success());
    assert_eq!(end(&ended(&proxy, "eu.example")), "proxy/relay/drain");
}

/// Without a CONNECT there is no keep alive; a duration holds.
#[test]
fn the_idle_limit() {
    let (broker, _) = recording_broker();
    let proxy = config([&broker]).listener("timeouts: { idle: 1s }").start();
    let mut client = session(&proxy, "eu.example");
    client.expect_end();
    assert_eq!(end(&ended(&proxy, "eu.example")), "proxy/relay/idle");
}

/// A reload from TLS that ends here: handshakes under way finish as they began.
#[test]
fn a_reload_while_handshakes_are_under_way() {
    let pki = Pki::new();
    let issued = pki.issue("broker");
    let server = Pki::server(&issued, None);
    // It takes both, as the pool stays the same.
    let broker = Broker::start(move |link| {
        let mut first = [0];
        match link.stream.peek(&mut first) {
            Ok(1) if first == [0x16] => serve(&link, &server, &Mutex::default()),
            _ => echo(link),
        }
    });
    let terminating = Config::of([&broker]).listener(&pki.tls(""));
    let proxy = terminating.start();
    let mut under_way = pki.client().open(proxy.address());
    // Half of the ClientHello.
    let mut first_flight = Vec::new();
    under_way.stream.conn.write_tls(&mut first_flight).unwrap();
    let (first, rest) = first_flight.split_at(first_flight.len() / 2);
    std::io::Write::write_all(&mut under_way.stream.sock, first).unwrap();
    wait_for("the handshake", || {
        (proxy.metric("mqtt_lb_connections_active", &[]) > 0.5).then_some(())
    });

    let passing = Config::of([&broker]).listener(PASSTHROUGH);
    let said = take(&proxy, &passing);
    let changed = "listener mqtt: TLS, WebSocket or PROXY protocol changed";
    assert!(said.iter().any(|line| line.contains(changed)), "{said:?}");
    let client = pki.client().open(proxy.address()).session("through");
    assert_eq!(client.certificate(), issued.der);

    std::io::Write::write_all(&mut under_way.stream.sock, rest).unwrap();
    let mut under_way = under_way.session("terminated");
    assert_ne!(under_way.certificate(), issued.der, "the certificate of the proxy");
    assert_eq!(proxy.wait_connected("terminated")["transport"], "tls");

    // And back, while a session is passed through.
    take(&proxy, &terminating);
    let again = pki.client().open(proxy.address()).session("again");
    assert_eq!(proxy.wait_connected("again")["transport"], "tls");
    drop((client, again));
    under_way.echo(b"\xC0\x00");
}

/// Rules know the server name and the address, and a pool is chosen before a byte is sent.
#[test]
fn rules() {
    let brokers = [recording_broker(), recording_broker()];
    let rules = "rules: [ { name: eu, when: { sni: \"*.eu.example\" }, pool: eu }, \
                 { name: none, when: { sni: stolen.example }, refuse: banned }, \
                 { name: all, when: { percent: 100, source: 127.0.0.0/8 }, pool: brokers } ]";
    let eu = format!(
        "  - name: eu\n    balance: {{ key: sni }}\n    upstreams:\n      - {{ name: eu1, address: \
         \"{}\" }}",
        brokers[1].0.address
    );
    let config = config([&brokers[0].0]).listener(rules);
    let text = config.text().replace("access_log:", &format!("{eu}\naccess_log:"));
    let proxy = Proxy::start(&text);
    for (name, rule, upstream) in
        [("a.eu.example", "eu", "eu1"), ("us.example", "all", "b1"), ("b.eu.example", "eu", "eu1")]
    {
        let _session = session(&proxy, name);
        let line = proxy.wait_log(name, |line| line["sni"] == name);
        assert_eq!((&line["rule"], &line["upstream"]), (&rule.into(), &upstream.into()), "{line}");
    }
    Client::exchange(proxy.address(), &named("stolen.example"), b"").expect_end();
    let line = proxy.wait_log("the refusal", |line| line["sni"] == "stolen.example");
    assert_eq!(end(&line), "proxy/handshake/refused");
    assert_eq!((&line["event"], &line["rule"]), (&"reject".into(), &"none".into()));
}

/// A broker that does not take connections is passed over, and remembered; a name keeps its broker.
#[test]
fn another_broker_is_tried() {
    let (first, second) = (recording_broker().0, recording_broker().0);
    let passive = "health: { passive: { failures: 1, eject_for: 100ms } }";
    let proxy = config([&first, &second]).pool(passive).start();
    let names: Vec<String> = (0..12).map(|n| format!("{n}.example")).collect();
    let brokers_of = |proxy: &Proxy| -> Vec<String> {
        let before = proxy.log().len();
        for name in &names {
            drop(session(proxy, name));
        }
        let lines = wait_for("the sessions", || {
            let lines = proxy.log().into_iter().skip(before);
            let lines: Vec<_> = lines.filter(|line| line["event"] == "connect").collect();
            (lines.len() == names.len()).then_some(lines)
        });
        let of = |name: &String| lines.iter().find(|line| line["sni"] == **name).unwrap();
        names.iter().map(|name| of(name)["upstream"].as_str().unwrap().to_owned()).collect()
    };
    let before = brokers_of(&proxy);
    assert_eq!(brokers_of(&proxy), before);
    let address = first.address;
    drop(first);
    assert!(brokers_of(&proxy).iter().all(|upstream| upstream == "b2"));
    let on_second = |line: &Value| line["upstream"] == "b2" && line["tries"] == 2;
    let line = proxy.wait_log("a second try", on_second);
    assert_eq!(line["route"], "fallback");
    let listener = TcpListener::bind(address).unwrap();
    let _first = Broker::start_on(listener, |mut link| {
        let _ = std::io::copy(&mut link.stream.try_clone().unwrap(), &mut link.stream);
    });
    wait_for("the first broker's clients", || (brokers_of(&proxy) == before).then_some(()));
}

/// Sessions of a broker that checks found down end, as do those of one that is removed.
#[test]
fn brokers_that_are_down_or_removed() {
    let (mut first, second) = (recording_broker().0, recording_broker().0);
    let check = "health: { active: { type: tcp, interval: 100ms, fall: 1 }, fail_open_percent: 0 }";
    let config = config([&first, &second]).pool(check);
    let proxy = config.start();
    let mut clients = Vec::new();
    let mut on = |upstream: &str| {
        wait_for(upstream, || {
            let name = format!("{}.example", clients.len());
            clients.push(session(&proxy, &name));
            let line = proxy.wait_log(&name, |line| line["sni"] == *name);
            (line["upstream"] == *upstream).then_some(name)
        })
    };
    let (of_first, of_second) = (on("b1"), on("b2"));
    first.stop();
    assert_eq!(end(&ended(&proxy, &of_first)), "proxy/relay/down");
    let mut without = config.clone();
    without.upstreams = vec![config.upstreams[0].clone()];
    take(&proxy, &without);
    assert_eq!(end(&ended(&proxy, &of_second)), "proxy/relay/removed");
}

/// A client that leaves the queue for admission costs its broker nothing, whatever it has sent.
#[test]
fn the_queue_for_admission() {
    let (broker, seen) = recording_broker();
    let proxy = config([&broker]).pool("admission: { rate: 1, burst: 1, max_wait: 30s }").start();
    let mut first = session(&proxy, "first.example");
    let (leaving, staying) = (named("leaving.example"), named("staying.example"));
    let mut leaver = Client::exchange(proxy.address(), &leaving, b"");
    leaver.send(&[0x17; 100]);
    drop(leaver);
    let line = proxy.wait_log("the leaver", |line| line["sni"] == "leaving.example");
    assert_eq!(end(&line), "client/dial/closed");
    let mut stayer = Client::exchange(proxy.address(), &staying, b"");
    stayer.expect(&staying);
    let line = proxy.wait_log("the stayer", |line| line["sni"] == "staying.example");
    assert!(line["queue_ms"].as_f64().unwrap() > 0.0, "{line}");
    first.echo(b"more");
    assert!(!seen.lock().unwrap().iter().any(|bytes| bytes.starts_with(&leaving)));
}

/// PROXY headers come before the TLS that is passed through, on both sides.
#[test]
fn proxy_headers() {
    let (tell, seen) = mpsc::channel();
    let broker = Broker::start(move |mut link| {
        let Some(header) = read_header(&mut link) else { return };
        let _ = tell.send(header);
        let _ = std::io::copy(&mut link.stream.try_clone().unwrap(), &mut link.stream);
    });
    let proxy = config([&broker])
        .listener("accept_proxy_protocol: { from: [127.0.0.1] }")
        .pool("send_proxy_protocol: v2")
        .start();
    let hello = named("eu.example");
    let of_v1 = v1("192.0.2.7:4711", "192.0.2.8:8883");
    // Another name in the header does not replace that of the ClientHello.
    let of_v2 = raw_v2(0x21, 0x11, b"\xC0\0\x02\x07\xC0\0\x02\x08\x12\x67\x22\xB3\x02\0\x01x");
    for header in [of_v1, of_v2] {
        let mut client = Client::open(proxy.address());
        client.send(&[&header[..], &hello].concat());
        client.expect(&hello);
        drop(client);
        let sent = seen.recv_timeout(PATIENCE).unwrap();
        let has = |part: &[u8]| sent.windows(part.len()).any(|window| window == part);
        assert!(has(b"\xC0\0\x02\x07\xC0\0\x02\x08\x12\x67\x22\xB3"), "the addresses: {sent:x?}");
        assert!(has(&tlv(0x02, b"eu.example")), "AUTHORITY: {sent:x?}");
        assert!(!has(&[0x20, 0]), "TLS does not end here, so there is no TLV about it: {sent:x?}");
    }
    let line = proxy.wait_log("the client", |line| line["event"] == "disconnect");
    assert_eq!((&line["client"], &line["sni"]), (&"192.0.2.7:4711".into(), &"eu.example".into()));
    assert_eq!(line["bytes_in"], hello.len(), "without the header");
}

/// A session ticket of one broker is of use only there, where its name keeps it.
#[test]
fn resumption() {
    let pki = Pki::new();
    let brokers = [tls_broker(&pki, &["localhost"]).0, tls_broker(&pki, &["localhost"]).0];
    let proxy = config(&brokers).start();
    let trust = pki.client().config();
    let open = || TlsClient::open(&trust, proxy.address(), "localhost").session("c");
    assert!(!open().is_resumed());
    for _ in 0..5 {
        assert!(open().is_resumed());
    }
}

/// Clients without a name are placed by address.
#[test]
fn source_addresses_as_the_key() {
    let brokers = [recording_broker().0, recording_broker().0];
    let by_source = Config::of(&brokers).listener(PASSTHROUGH).pool("balance: { key: source_ip }");
    let default = Config::of(&brokers).listener(PASSTHROUGH);
    let mut chosen = Vec::new();
    for (config, route) in [(by_source, "hash"), (default, "fallback_key")] {
        let proxy = config.listener("accept_proxy_protocol: { from: [127.0.0.1] }").start();
        for n in 0..16 {
            let header = v1(&format!("192.0.2.{n}:1000"), "192.0.2.200:8883");
            let hello = named("eu.example");
            let mut client = Client::open(proxy.address());
            client.send(&[&header[..], &hello].concat());
            client.expect(&hello);
            let of_client = format!("192.0.2.{n}:1000");
            let line = proxy.wait_log(&of_client, |line| line["client"] == of_client);
            assert_eq!(line["route"], route);
            chosen.push(line["upstream"].clone());
        }
    }
    let (keyed, fallen_back) = chosen.split_at(16);
    assert_eq!(keyed, fallen_back);
    assert!(keyed.iter().any(|upstream| *upstream != keyed[0]), "{keyed:?}");
}
