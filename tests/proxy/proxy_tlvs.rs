//! TLVs of a PROXY header: kept by type, logged, and passed on to brokers byte for byte.

use serde_json::{Value, json};

use crate::{
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{PATIENCE, Proxy},
    proxy_header::{DESTINATION, ssl, tlv, v1, v2, with_checksum},
    proxy_protocol_out::{reading, session_id},
};

const CLIENT: &str = "192.0.2.1:56324";

/// As AWS and Azure write the endpoint that a client came by: a subtype, then a name.
const ENDPOINT: &[u8] = b"\x01vpce-08d2bf15fac5001c9";
const ENDPOINT_IN_HEX: &str = "01767063652d3038643262663135666163353030316339";

/// A proxy whose listener keeps the TLVs of these types, and whose pool sends what these keys say.
fn config(broker: &crate::broker::Broker, kept: &str, sent: &str) -> Config {
    Config::of([broker])
        .listener(&format!("accept_proxy_protocol: {{ from: [127.0.0.1]{kept} }}"))
        .pool(&format!("send_proxy_protocol: {sent}"))
}

/// Opens a session behind a header; returns its log line.
#[track_caller]
fn session(proxy: &Proxy, header: &[u8], id: &str) -> (Client, Value) {
    let sent = [header, &connect(4, id)].concat();
    let client = Client::exchange(proxy.address(), &sent, CONNACK_V3);
    let line = proxy.wait_connected(id);
    (client, line)
}

#[test]
fn what_is_passed_on() {
    let came_in = [
        tlv(0x01, b"mqtt"),
        tlv(0xEA, ENDPOINT),
        tlv(0x04, b"padding"),
        tlv(0xE0, b"tenant-a"),
        tlv(0x30, b"blue"),
        ssl("TLSv1.3", "device-7", "TLS_AES_128_GCM_SHA256"),
    ]
    .concat();
    let header = with_checksum(v2(CLIENT, DESTINATION, &came_in));
    let of_tls = ssl("TLSv1.3", "device-7", "TLS_AES_128_GCM_SHA256");
    let (endpoint, tenant) = (tlv(0xEA, ENDPOINT), tlv(0xE0, b"tenant-a"));
    let both = [&endpoint[..], &tenant].concat();
    let both_logged = json!({ "0xEA": ENDPOINT_IN_HEX, "0xE0": "tenant-a" });
    for (id, kept, sent, passed, logged) in [
        ("all", ", tlvs: [0xE0, 0xEA]", "{ version: v2, tlvs: all }", both, both_logged.clone()),
        ("one", ", tlvs: [0xE0, 0xEA]", "{ version: v2, tlvs: [0xE0] }", tenant, both_logged),
        (
            "kept-one",
            ", tlvs: [0xEA]",
            "{ version: v2, tlvs: [0xEA, 0xE0, 0x30] }",
            endpoint,
            json!({ "0xEA": ENDPOINT_IN_HEX }),
        ),
        // Types that the proxy writes itself are logged, and never there twice.
        (
            "own",
            ", tlvs: [0x01, 0x30]",
            "{ version: v2, tlvs: all }",
            tlv(0x30, b"blue"),
            json!({ "0x01": "mqtt", "0x30": "blue" }),
        ),
        ("kept-none", "", "{ version: v2, tlvs: all }", vec![], Value::Null),
        ("passed-none", ", tlvs: [0xEA]", "v2", vec![], json!({ "0xEA": ENDPOINT_IN_HEX })),
        ("absent", ", tlvs: [0xEB]", "{ version: v2, tlvs: all }", vec![], Value::Null),
    ] {
        let (broker, seen) = reading();
        let proxy = config(&broker, kept, sent).start();
        let (_client, line) = session(&proxy, &header, id);
        assert_eq!(line["proxy_tlvs"], logged, "{id}");
        let unique_id = tlv(0x05, &session_id(&proxy, id));
        let told = [tlv(0x01, b"mqtt"), unique_id, of_tls.clone(), passed].concat();
        let wanted = with_checksum(v2(CLIENT, DESTINATION, &told));
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (wanted, connect(4, id)), "{id}");
    }
}

/// A header of version 1, a balancer's own connection, and a header without TLVs.
#[test]
fn headers_without_tlvs() {
    let (broker, seen) = reading();
    let proxy = config(&broker, ", tlvs: [0xEA]", "{ version: v2, tlvs: all }").start();
    let local = crate::proxy_header::raw_v2(0x20, 0x11, &[&[0; 12][..], &tlv(0xEA, b"x")].concat());
    for (id, header) in [
        ("text", v1(CLIENT, DESTINATION)),
        ("local", local),
        ("none", v2(CLIENT, DESTINATION, b"")),
    ] {
        let (_client, line) = session(&proxy, &header, id);
        assert_eq!(line["proxy_tlvs"], Value::Null, "{id}");
        let (sent, _) = seen.recv_timeout(PATIENCE).unwrap();
        assert!(!sent.contains(&0xEA), "{id}");
    }
}

/// One of each type, up to 256 bytes; the others are counted. Text is text only if all of it can be
/// printed.
#[test]
fn bounds() {
    let (broker, seen) = reading();
    let proxy = config(&broker, ", tlvs: [0xE0, 0xE1, 0xE2, 0xE3]", "{ version: v2, tlvs: all }");
    let proxy = proxy.start();
    let came_in = [
        tlv(0xE0, b"first"),
        tlv(0xE0, b"second"),
        tlv(0xE1, &[b'x'; 257]),
        tlv(0xE2, "\"\u{e9}".as_bytes()),
        tlv(0xE3, b""),
    ]
    .concat();
    let (_client, line) = session(&proxy, &v2(CLIENT, DESTINATION, &came_in), "bounds");
    let logged = json!({ "0xE0": "first", "0xE2": "22c3a9", "0xE3": "", "omitted": 2 });
    assert_eq!(line["proxy_tlvs"], logged);
    let unique_id = tlv(0x05, &session_id(&proxy, "bounds"));
    let passed = [tlv(0xE0, b"first"), tlv(0xE2, "\"\u{e9}".as_bytes()), tlv(0xE3, b"")].concat();
    let wanted = with_checksum(v2(CLIENT, DESTINATION, &[unique_id, passed].concat()));
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().0, wanted);
}

/// In a template, the pairs are words.
#[test]
fn in_a_template() {
    let (broker, _seen) = reading();
    let mut config = config(&broker, ", tlvs: [0xE0, 0xE1]", "v2");
    config.access_log = "{ path: access.log, format: '${client_id} \"${proxy_tlvs}\"' }".to_owned();
    let proxy = config.start();
    let came_in = [tlv(0xE0, b"a\"b"), tlv(0xE1, b"\n")].concat();
    let sent = [v2(CLIENT, DESTINATION, &came_in), connect(4, "text")].concat();
    let _client = Client::exchange(proxy.address(), &sent, CONNACK_V3);
    crate::harness::wait_for("its line", || {
        let log = std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
        log.contains("text \"0xE0=a\\x22b 0xE1=0a\"\n").then_some(())
    });
}
