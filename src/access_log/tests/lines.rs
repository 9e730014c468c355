//! The exact bytes of lines, and attempts to forge them.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::Value;

use super::{minimal, some_time};
use crate::{
    access_log::{
        entry::{BanFields, DialledAddress, Entry},
        fields::field_names,
        format::{LineFormat, Template, TemplateError},
    },
    config::LogLineFormat,
    escape::is_unsafe,
    labels::{BanKind, BanReason, EndBy, EndCause, EndPhase, Event, RouteKind, Transport},
    proto::{
        CertificateFacts,
        proxy_header::{KeptTlvs, keep_tlvs, write_v2},
    },
    timestamp::{Timestamp, rfc3339, unix_seconds},
};

/// TLVs of every kind: not text, text, empty, repeated.
static TLVS: LazyLock<Option<Box<KeptTlvs>>> = LazyLock::new(|| {
    let tlvs: [(u8, &[u8]); 4] =
        [(0xEA, b"\x01\xFF"), (0xE0, b"tenant \"a\""), (0x0F, b""), (0xE0, b"again")];
    keep_tlvs(&write_v2(None, None, b"", tlvs), &[0xEA, 0xE0, 0x0F])
});

pub(super) fn line(format: &LogLineFormat, entry: &Entry<'_>) -> String {
    let mut stamp = Timestamp::default();
    stamp.set(entry.time);
    let mut out = Vec::new();
    LineFormat::new(format).unwrap().render(entry, &stamp, &mut out);
    String::from_utf8(out).unwrap()
}

pub(super) fn template(source: &str, entry: &Entry<'_>) -> String {
    line(&LogLineFormat::Template(source.into()), entry)
}

/// A certificate with alternative names of every kind.
static CERTIFICATE: LazyLock<CertificateFacts> = LazyLock::new(|| CertificateFacts {
    san_dns: ["a.example", "\"*"].map(Box::from).into(),
    san_uri: ["urn:b"].map(Box::from).into(),
    san_email: ["c@d"].map(Box::from).into(),
    ..CertificateFacts::default()
});

const BAN: BanFields<'static> = BanFields {
    kind: BanKind::ClientId,
    value: Cow::Borrowed("sensor-17"),
    until: "2026-11-22T23:32:27.123Z",
    reason: BanReason::Operator,
};

/// An entry with every field.
pub(super) fn full() -> Entry<'static> {
    Entry {
        time: some_time(),
        event: Event::Disconnect,
        session: Some(0x00c0_ffee),
        listener: Some("mqtt"),
        transport: Some(Transport::Tcp),
        client: Some(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 51234))),
        peer: Some(SocketAddr::from((Ipv6Addr::LOCALHOST, 9))),
        proxy_tlvs: TLVS.as_deref(),
        tls_version: Some("TLSv1.3"),
        tls_cipher: Some("TLS_AES_128_GCM_SHA256"),
        sni: Some("eu.example.com"),
        tls_cn: Some("device \"7\""),
        tls_san: Some(&CERTIFICATE),
        tls_serial: Some("0def"),
        tls_fingerprint: Some("9f86d081"),
        path: Some("/mqtt"),
        protocol_name: Some("MQTT"),
        protocol_version: Some(5),
        bridge: Some(false),
        client_id: Some("sensor-17"),
        broker_client_id: Some("plant-a/17"),
        assigned_client_id: Some("auto-4"),
        username: Some("plant-a"),
        jwt_sub: Some("device:17"),
        has_password: Some(true),
        clean_start: Some(false),
        keepalive: Some(60),
        will: Some(true),
        session_expiry: Some(u32::MAX),
        connect_malformed: Some("the reserved connect flag is set"),
        pool: Some("brokers"),
        rule: Some("canary"),
        upstream: Some("broker-1"),
        upstream_address: Some(DialledAddress::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)))),
        route: Some(RouteKind::Hash),
        tries: Some(1),
        connack: Some(0),
        connack_reason: Some("success"),
        connack_malformed: Some("2 bytes follow the last field of the packet"),
        session_present: Some(true),
        handshake_ms: Some(Duration::from_nanos(1_234_999)),
        queue_ms: Some(Duration::from_millis(2_500)),
        dial_ms: Some(Duration::from_micros(70)),
        connack_ms: Some(Duration::from_millis(5)),
        duration_ms: Some(Duration::from_hours(24)),
        bytes_in: Some(1_048_576),
        bytes_out: Some(0),
        client_disconnect: Some(0),
        broker_disconnect: Some(0x8E),
        ban: Some(BAN),
        end_by: Some(EndBy::Client),
        end_phase: Some(EndPhase::Relay),
        end_cause: Some(EndCause::Closed),
        detail: Some("why"),
    }
}

#[test]
fn json_of_a_full_entry() {
    let wanted = concat!(
        r#"{"time":"2026-11-22T23:22:27.123Z","event":"disconnect","session":"0000000000c0ffee","#,
        r#""listener":"mqtt","transport":"tcp","client":"192.0.2.7:51234","peer":"[::1]:9","#,
        r#""proxy_tlvs":{"0xEA":"01ff","0xE0":"tenant \"a\"","0x0F":"","omitted":1},"#,
        r#""tls_version":"TLSv1.3","tls_cipher":"TLS_AES_128_GCM_SHA256","#,
        r#""sni":"eu.example.com","tls_cn":"device \"7\"","tls_san":"DNS:a.example DNS:\"* URI:urn:b email:c@d","#,
        r#""tls_serial":"0def","tls_fingerprint":"9f86d081","path":"/mqtt","#,
        r#""protocol_name":"MQTT","protocol_version":5,"bridge":false,"client_id":"sensor-17","broker_client_id":"plant-a/17","assigned_client_id":"auto-4","#,
        r#""username":"plant-a","jwt_sub":"device:17","has_password":true,"clean_start":false,"keepalive":60,"#,
        r#""will":true,"session_expiry":4294967295,"connect_malformed":"the reserved connect flag is set","pool":"brokers","rule":"canary","upstream":"broker-1","#,
        r#""upstream_address":"127.0.0.1:1883","route":"hash","tries":1,"connack":0,"#,
        r#""connack_reason":"success","connack_malformed":"2 bytes follow the last field of the packet","session_present":true,"handshake_ms":1.234,"#,
        r#""queue_ms":2500.000,"dial_ms":0.070,"connack_ms":5.000,"duration_ms":86400000.000,"bytes_in":1048576,"#,
        r#""bytes_out":0,"client_disconnect":0,"client_disconnect_reason":"normal_disconnection","#,
        r#""broker_disconnect":142,"broker_disconnect_reason":"session_taken_over","#,
        r#""ban_kind":"client_id","ban_value":"sensor-17","ban_until":"2026-11-22T23:32:27.123Z","ban_reason":"operator","#,
        r#""end_by":"client","end_phase":"relay","end_cause":"closed","#,
        r#""detail":"why"}"#,
        "\n"
    );
    assert_eq!(line(&LogLineFormat::Json, &full()), wanted);
}

#[test]
fn json_of_a_minimal_entry() {
    let wanted = concat!(
        r#"{"time":"2026-11-22T23:22:27.123Z","event":"reject","session":"000000000000002a","#,
        r#""listener":"mqtt","transport":"tcp"}"#,
        "\n"
    );
    assert_eq!(line(&LogLineFormat::Json, &minimal()), wanted);
}

/// The values that operators count by: they are part of the interface.
/// The JSON of a full entry has every field name, in the order of the list.
#[test]
fn every_field_is_written_once_in_order() {
    let json = line(&LogLineFormat::Json, &full());
    let mut at = 0;
    for name in field_names() {
        let found = json.get(at..).and_then(|rest| rest.find(&format!("\"{name}\":")));
        at += found.unwrap_or_else(|| panic!("{name} is missing or out of order"));
    }
    let fields = serde_json::from_str::<Value>(&json).unwrap();
    assert_eq!(fields.as_object().unwrap().len(), field_names().count());
}

#[test]
fn text_of_a_full_and_a_minimal_entry() {
    assert_eq!(
        line(&LogLineFormat::Text, &full()),
        "192.0.2.7:51234 [22/Nov/2026:23:22:27 +0000] clientid: [sensor-17] username: [plant-a] \
         protocol: [MQTT] version: [5] event: [disconnect] session: [0000000000c0ffee] \
         listener: [mqtt] pool: [brokers] upstream: [broker-1] connack: [0] bytes_in: [1048576] \
         bytes_out: [0] duration_ms: [86400000.000] end: [client relay closed] detail: [why]\n"
    );
    assert_eq!(
        line(&LogLineFormat::Text, &minimal()),
        "- [22/Nov/2026:23:22:27 +0000] clientid: [-] username: [-] protocol: [-] version: [-] \
         event: [reject] session: [000000000000002a] listener: [mqtt] pool: [-] upstream: [-] \
         connack: [-] bytes_in: [-] bytes_out: [-] duration_ms: [-] end: [- - -] detail: [-]\n"
    );
}

/// Texts that a client could send to break a line, control a terminal or mislead the reader.
const FORGERIES: &[&str] = &[
    "a\nb",
    "a\r\nb",
    "] username: [admin",
    "\"},\n{\"event\":\"connect\",\"client_id\":\"b",
    "back\\slash\\",
    "\u{1b}[2Jcleared",
    "\u{7f}\u{80}\u{85}\u{9b}2J",
    "\u{2028}\u{2029}",
    "\u{202e}desrever\u{2066}",
    "\u{200b}un\u{feff}seen\u{ad}\u{e0041}\u{e007f}\u{1d173}",
    "\0",
];

#[test]
fn no_client_can_forge_a_line() {
    let harmless = Entry { client_id: Some("harmless"), username: Some("u"), ..minimal() };
    let harmless = line(&LogLineFormat::Text, &harmless);
    for &forgery in FORGERIES {
        let entry = Entry { client_id: Some(forgery), username: Some("u"), ..minimal() };

        let json = line(&LogLineFormat::Json, &entry);
        assert_eq!(json.matches('\n').count(), 1, "{json:?}");
        let fields: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(fields.get("client_id").and_then(Value::as_str), Some(forgery));
        assert_eq!(fields.get("event").and_then(Value::as_str), Some("reject"));

        let text = line(&LogLineFormat::Text, &entry);
        // The line has the same structure as a harmless client's.
        let shape = |line: &str| line.replace(|c| !matches!(c, '[' | ']' | '"'), "");
        assert_eq!(shape(&text), shape(&harmless), "{text:?}");

        for line in [json, text] {
            let body = line.strip_suffix('\n').unwrap();
            assert!(!body.contains(is_unsafe), "{line:?}");
        }
    }
}

#[test]
fn escapes_keep_the_rest_of_the_value() {
    let entry = Entry { client_id: Some("né\u{85}[x]\"\\\t\u{2028}日\u{e0041}"), ..minimal() };
    assert_eq!(
        template("<${client_id}>", &entry),
        "<né\\u0085\\x5Bx\\x5D\\x22\\x5C\\x09\\u2028日\\uDB40\\uDC41>\n"
    );
    let json = line(&LogLineFormat::Json, &entry);
    assert!(json.contains(r#""client_id":"né\u0085[x]\"\\\u0009\u2028日\udb40\udc41""#), "{json}");
}

#[test]
fn absent_empty_and_dash_are_told_apart() {
    let of = |client_id| template("[${client_id}]", &Entry { client_id, ..minimal() });
    assert_eq!(of(None), "[-]\n");
    assert_eq!(of(Some("")), "[]\n");
    assert_eq!(of(Some("-")), "[\\x2D]\n");
    assert_eq!(of(Some("--")), "[--]\n");
}

#[test]
fn template_variables_and_literals() {
    let entry = Entry {
        upstream_address: Some(DialledAddress::Unix(Path::new("/run/broker\n.sock"))),
        ..full()
    };
    assert_eq!(
        template("$x $${event} ${time} \"${client}\" ${upstream_address} 100%{}", &entry),
        "$x $disconnect 2026-11-22T23:22:27.123Z \"192.0.2.7:51234\" \
         unix:/run/broker\\x0A.sock 100%{}\n"
    );
    // A line break in the template would split an entry into two lines; a tab is a usual separator.
    assert_eq!(template("a\tb\nc\n", &minimal()), "a\tb\\x0Ac\\x0A\n");
}

#[test]
fn a_template_that_cannot_be_used() {
    let fault = |source: &str| Template::compile(source).err();
    assert_eq!(fault("${password}"), Some(TemplateError::UnknownField("password".into())));
    assert_eq!(fault("${}"), Some(TemplateError::UnknownField(String::new())));
    assert_eq!(fault("a ${event"), Some(TemplateError::Unclosed));
    for name in field_names() {
        assert_eq!(fault(&format!("${{{name}}}")), None);
    }
}

/// The prefix is reused within a second, and rebuilt when the second changes in either direction.
#[test]
fn the_stamp_follows_the_clock() {
    let mut stamp = Timestamp::default();
    for (millis, wanted) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (1_000, "1970-01-01T00:00:01.000Z"),
        (951_782_400_005, "2000-02-29T00:00:00.005Z"),
        (1_000, "1970-01-01T00:00:01.000Z"),
    ] {
        stamp.set(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(stamp.rfc3339(), wanted);
    }
    stamp.set(UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(stamp.local(), "01/Jan/1970:00:00:00 +0000");
}

#[test]
fn clocks_that_are_wrong() {
    for (second, date, wanted) in [
        (-1, "1970-01-01T00:00:00.000Z", 0),
        (253_402_300_799, "9999-12-31T23:59:59.000Z", 253_402_300_799),
        // RFC 3339 cannot express later times.
        (253_402_300_800, "1970-01-01T00:00:00.000Z", 253_402_300_800),
        (i64::MAX, "1970-01-01T00:00:00.000Z", i64::MAX),
    ] {
        let since = Duration::from_secs(second.unsigned_abs());
        let time = if second < 0 { UNIX_EPOCH - since } else { UNIX_EPOCH + since };
        assert_eq!((&*rfc3339(time), unix_seconds(time)), (date, wanted));
    }
}

/// This thread's CPU time in nanoseconds, so that other programs do not count.
fn cpu_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// The cost of a line, printed: `cargo test --release --lib -- --ignored --nocapture line_cost`.
#[test]
#[ignore = "a measurement"]
fn line_cost() {
    for format in [LogLineFormat::Json, LogLineFormat::Text] {
        let compiled = LineFormat::new(&format).unwrap();
        let (mut stamp, mut out) = (Timestamp::default(), Vec::with_capacity(1 << 20));
        let mut entry = full();
        let lines = 1_000_000;
        let began = cpu_time();
        for _ in 0..lines {
            entry.time += Duration::from_micros(100);
            stamp.set(entry.time);
            if out.len() > 32 * 1024 {
                out.clear();
            }
            compiled.render(std::hint::black_box(&entry), &stamp, &mut out);
        }
        println!("{format:?}: {} ns a line", (cpu_time() - began) / lines);
    }
}
