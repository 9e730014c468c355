//! Values that are too long for a line.

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;

use super::{
    lines::{full, line, template},
    minimal,
};
use crate::{
    access_log::{
        entry::{DialledAddress, Entry},
        value::MAX_VALUE_BYTES,
    },
    config::LogLineFormat,
    escape::is_unsafe,
    proto::{
        CertificateFacts,
        proxy_header::{keep_tlvs, write_v2},
    },
};

/// The longest line of JSON or text, as documented in the README.
const MAX_LINE_BYTES: usize = 76 * 1024;

/// The client ID as written in a line of JSON.
fn written(client_id: &str) -> String {
    let json = line(&LogLineFormat::Json, &Entry { client_id: Some(client_id), ..minimal() });
    let fields: Value = serde_json::from_str(&json).unwrap();
    let (_, rest) = json.split_once("\"client_id\":\"").unwrap();
    let raw = rest.strip_suffix("\"}\n").unwrap();
    // The parsed value is what was written, and the beginning of what was sent.
    let read = fields["client_id"].as_str().unwrap();
    match read.rsplit_once("…(+") {
        Some((kept, rest)) => {
            let missing: usize = rest.strip_suffix(" bytes)").unwrap().parse().unwrap();
            assert!(client_id.starts_with(kept));
            assert_eq!(kept.len() + missing, client_id.len());
        }
        None => assert_eq!(read, client_id),
    }
    raw.to_owned()
}

#[test]
fn a_value_that_fits_is_whole_and_one_byte_more_is_not() {
    let fits = "x".repeat(MAX_VALUE_BYTES);
    assert_eq!(written(&fits), fits);
    assert_eq!(written(&(fits.clone() + "y")), fits.clone() + "…(+1 bytes)");
    assert_eq!(written(&(fits.clone() + &fits)), fits + "…(+4096 bytes)");
}

#[test]
fn no_character_and_no_escape_is_cut_in_two() {
    // Of several lengths, so that the cut falls at every position.
    for (one, shown) in [
        ("\u{1}", "\\u0001"),
        ("\"", "\\\""),
        ("é", "é"),
        ("日", "日"),
        ("𝄞", "𝄞"),
        ("\u{e0041}", "\\udb40\\udc41"),
    ] {
        for lead in 0..shown.len() {
            let lead = "x".repeat(lead);
            let text = lead.clone() + &one.repeat(70_000 / one.len());
            let kept = (MAX_VALUE_BYTES - lead.len()) / shown.len();
            let missing = text.len() - lead.len() - kept * one.len();
            let wanted = lead + &shown.repeat(kept) + &format!("…(+{missing} bytes)");
            assert_eq!(written(&text), wanted);
        }
    }
}

#[test]
fn text_and_templates_cut_as_well() {
    let entry = Entry { client_id: Some(&"]".repeat(2000)), username: Some("u"), ..minimal() };
    let cut = "\\x5D".repeat(1024) + "…(+976 bytes)";
    assert_eq!(template("\"${client_id}\" ${username}", &entry), format!("\"{cut}\" u\n"));
    let text = line(&LogLineFormat::Text, &entry);
    assert!(text.contains(&format!("clientid: [{cut}] username: [u] ")), "{text}");
    // The template's own text is not truncated.
    let literal = "l".repeat(5000);
    assert_eq!(template(&literal, &entry), literal.clone() + "\n");
}

/// As many types of TLVs as are kept.
const TLV_TYPES: [u8; 16] = *b"\xE0\xE1\xE2\xE3\xE4\xE5\xE6\xE7\xE8\xE9\xEA\xEB\xEC\xED\xEE\xEF";

/// Each text is the worst case: 64 KiB of characters that take six bytes each when escaped.
#[test]
fn a_line_is_bounded() {
    for one in ["\u{1}", "\"", "x", "\u{e0041}", "é"] {
        let long = one.repeat(65_535 / one.len());
        let some = Some(&*long);
        let san_uri = Box::new([Box::from(&*long)]);
        let certificate = CertificateFacts { san_uri, ..CertificateFacts::default() };
        let value = &long.as_bytes()[..256.min(long.len())];
        let header = write_v2(None, None, b"", TLV_TYPES.map(|kind| (kind, value)));
        let tlvs = keep_tlvs(&header, &TLV_TYPES);
        let worst = Entry {
            listener: Some(&long),
            tls_version: some,
            tls_cipher: some,
            sni: some,
            tls_cn: some,
            tls_san: Some(&certificate),
            path: some,
            proxy_tlvs: tlvs.as_deref(),
            client_id: some,
            broker_client_id: some,
            assigned_client_id: some,
            username: some,
            jwt_sub: some,
            pool: some,
            upstream: some,
            upstream_address: Some(DialledAddress::Unix(Path::new(&long))),
            session: Some(u64::MAX),
            bytes_in: Some(u64::MAX),
            bytes_out: Some(u64::MAX),
            detail: some,
            ..full()
        };
        for format in [LogLineFormat::Json, LogLineFormat::Text] {
            let line = line(&format, &worst);
            assert!(line.len() < MAX_LINE_BYTES, "{format:?}: {} of {one:?}", line.len());
            if format == LogLineFormat::Json {
                serde_json::from_str::<Value>(&line).unwrap();
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_unsafe_is_in_a_line_and_json_says_the_same(
        text in r"([\p{Cc}\p{Cf}\p{Zl}\p{Zp}\x{e0000}-\x{e01ff}]|\PC|[\x{0}-\x{10ffff}]){0,40}"
    ) {
        let entry = Entry { client_id: Some(&text), detail: Some(&text), ..minimal() };
        let own = LogLineFormat::Template("\"${client_id}\" [${detail}]".into());
        for format in [LogLineFormat::Json, LogLineFormat::Text, own] {
            let line = line(&format, &entry);
            prop_assert!(!line.strip_suffix('\n').unwrap().contains(is_unsafe), "{:?}", line);
            match format {
                LogLineFormat::Json => {
                    let fields: Value = serde_json::from_str(&line).unwrap();
                    prop_assert_eq!(fields["client_id"].as_str(), Some(&*text));
                }
                // A value never contains the characters that enclose values.
                LogLineFormat::Template(_) => {
                    prop_assert_eq!(line.matches('"').count(), 2);
                    prop_assert_eq!(line.matches(['[', ']']).count(), 2);
                }
                LogLineFormat::Text => {}
            }
        }
    }
}
