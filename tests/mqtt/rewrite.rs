//! Rewritten CONNECT packets against those that an independent encoder makes of the new fields.

use std::num::NonZeroU32;

use mqtt_lb::testing::proto::mqtt::{
    Connect, ConnectEdits, Malformed, PasswordEdit, Progress, RewriteError, Span, Strictness,
    Version, connect, rewrite::rewrite,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::connect as packet;
use crate::encoder::{self, Packet, binary, field, text, user_property, varint};

fn parse(packet: &[u8], strictness: Strictness) -> Connect {
    let parsed = connect::parse(packet, usize::MAX, strictness);
    let Ok(Progress::Complete(connect)) = parsed else { panic!("{parsed:?}") };
    assert_eq!(connect.len, packet.len());
    connect
}

fn edited(packet: &[u8], edits: &ConnectEdits<'_>) -> Result<Vec<u8>, RewriteError> {
    rewrite(packet, &parse(packet, Strictness::Strict), edits)
}

fn edited_leniently(packet: &[u8], edits: &ConnectEdits<'_>) -> Result<Vec<u8>, RewriteError> {
    rewrite(packet, &parse(packet, Strictness::Lenient), edits)
}

#[derive(Clone, Debug)]
enum Password {
    Keep,
    Remove,
    Set(Vec<u8>),
}

fn password() -> impl Strategy<Value = Password> {
    prop_oneof![Just(Password::Keep), Just(Password::Remove), binary().prop_map(Password::Set)]
}

proptest! {
    #[test]
    fn only_what_is_named_changes(
        before in encoder::connect(),
        client_id in option::of(text()),
        username in option::of(text()),
        password in password(),
        user_properties in vec((text(), text()), 0..3),
    ) {
        let pairs: Vec<_> = user_properties.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let edits = ConnectEdits {
            client_id: client_id.as_deref(),
            username: username.as_deref(),
            password: match &password {
                Password::Keep => PasswordEdit::Keep,
                Password::Remove => PasswordEdit::Remove,
                Password::Set(bytes) => PasswordEdit::Set(bytes),
            },
            user_properties: &pairs,
        };
        let result = edited(&before.encode(), &edits);
        let mut after = before.clone();
        if let Some(id) = client_id {
            after.client_id = id.into();
        }
        let removes = matches!(password, Password::Remove) && before.password.is_some();
        if username.is_some() || removes || matches!(password, Password::Set(_)) {
            after.bare_flags = 0;
        }
        after.username = username.map(Into::into).or(after.username);
        match password {
            Password::Keep => {}
            Password::Remove => after.password = None,
            Password::Set(bytes) => after.password = Some(bytes),
        }
        after.properties.extend(pairs.iter().map(|(name, value)| user_property(name, value)));
        if after.body().len() != before.body().len() {
            after.padding = 0;
        }
        if after.version != Version::V5 && after.password.is_some() && after.username.is_none() {
            prop_assert_eq!(result, Err(RewriteError::PasswordWithoutUsername));
        } else {
            prop_assert_eq!(result.as_deref(), Ok(&after.encode()[..]));
            check(&after, &result.unwrap());
        }
    }

    #[test]
    fn without_edits_a_packet_stays(before in encoder::connect()) {
        let before = before.encode();
        let edits = ConnectEdits::default();
        prop_assert!(edits.is_empty());
        prop_assert_eq!(edited(&before, &edits), Ok(before));
    }
}

/// The fields that a strict reader finds.
fn check(packet: &Packet, bytes: &[u8]) {
    let connect = parse(bytes, Strictness::Strict);
    assert_eq!(connect.client_id.of(bytes).as_bytes(), packet.client_id);
    let of = |span: Option<Span>| span.map(|s| &bytes[s.range()]);
    assert_eq!(of(connect.username), packet.username.as_deref());
    assert_eq!(of(connect.password), packet.password.as_deref());
    assert_eq!(connect.will.is_some(), packet.will.is_some());
    let of_property = |id| packet.properties.iter().find(|p| p[0] == id).map(|p| &p[1..]);
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    if packet.version == Version::V5 {
        assert_eq!(connect.session_expiry, of_property(0x11).map(number));
        let size = connect.maximum_packet_size.map(NonZeroU32::get);
        assert_eq!(size, of_property(0x27).map(number));
    }
}

#[test]
fn emptiness() {
    assert!(ConnectEdits::default().is_empty());
    for edits in [
        ConnectEdits { client_id: Some(""), ..Default::default() },
        ConnectEdits { username: Some(""), ..Default::default() },
        ConnectEdits { password: PasswordEdit::Remove, ..Default::default() },
        ConnectEdits { password: PasswordEdit::Set(b""), ..Default::default() },
        ConnectEdits { user_properties: &[("", "")], ..Default::default() },
    ] {
        assert!(!edits.is_empty(), "{edits:?}");
    }
}

#[test]
fn the_longest_fields() {
    let (longest, over) = ("x".repeat(65_535), "x".repeat(65_536));
    let small = packet(b"\x00\x04MQTT\x05\xC2\x00\x3C\x00\x00\x01c\x00\x01u\x00\x01p");
    for (field, edits) in [
        (
            "client ID",
            (|text| ConnectEdits { client_id: Some(text), ..Default::default() })
                as for<'a> fn(&'a str) -> ConnectEdits<'a>,
        ),
        ("username", |text| ConnectEdits { username: Some(text), ..Default::default() }),
        ("password", |text| ConnectEdits {
            password: PasswordEdit::Set(text.as_bytes()),
            ..Default::default()
        }),
    ] {
        let result = edited(&small, &edits(&longest)).unwrap();
        assert!(parse(&result, Strictness::Strict).len > 65_535);
        // And back: a long field becomes short.
        assert_eq!(
            edited(
                &result,
                &edits(match field {
                    "client ID" => "c",
                    "username" => "u",
                    _ => "p",
                })
            )
            .unwrap(),
            small
        );
        let error = Err(RewriteError::FieldTooLong { field, len: 65_536 });
        assert_eq!(edited(&small, &edits(&over)), error);
    }
    for pair in [(&over[..], ""), ("", &over[..])] {
        let edits = ConnectEdits { user_properties: &[pair], ..Default::default() };
        let error = RewriteError::FieldTooLong { field: "user property", len: 65_536 };
        assert_eq!(edited(&small, &edits), Err(error));
    }
}

#[test]
fn a_packet_over_the_limit_of_mqtt() {
    let before = packet(b"\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x01c");
    let longest = "x".repeat(65_535);
    let pairs = vec![(&longest[..], &longest[..]); 2048];
    let edits = ConnectEdits { user_properties: &pairs, ..Default::default() };
    let error = edited(&before, &edits).unwrap_err();
    let block = 2048 * (5 + 2 * 65_535);
    assert_eq!(error, RewriteError::PacketTooLarge(block));
    // The block alone would fit; with the fields around it it does not.
    let most = 268_435_455;
    let rest = (before.len() - 2) - 1 + 4;
    let last = "x".repeat(most - (rest - 1) - 2047 * (5 + 2 * 65_535) - 5);
    let halves = last.split_at(last.len() / 2);
    let pairs = [&pairs[..2047], &[halves]].concat();
    let edits = ConnectEdits { user_properties: &pairs, ..Default::default() };
    let error = edited(&before, &edits).unwrap_err();
    assert_eq!(error, RewriteError::PacketTooLarge(most + 1));
}

#[test]
fn texts_with_nul() {
    let before = packet(b"\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x01c");
    for (field, edits) in [
        ("client ID", ConnectEdits { client_id: Some("a\0"), ..Default::default() }),
        ("username", ConnectEdits { username: Some("\0"), ..Default::default() }),
        ("user property", ConnectEdits { user_properties: &[("\0", "")], ..Default::default() }),
        ("user property", ConnectEdits { user_properties: &[("", "\0")], ..Default::default() }),
    ] {
        assert_eq!(edited(&before, &edits), Err(RewriteError::Nul(field)));
    }
    let password = PasswordEdit::Set(b"\0");
    assert!(edited(&before, &ConnectEdits { password, ..Default::default() }).is_ok());
}

/// 3.1 announces a username and a password, and omits them.
#[test]
fn fields_left_out_in_3_1() {
    let head = |flags: u8| [b"\x00\x06MQIsdp\x03", &[flags][..], b"\x00\x3C"].concat();
    let left_out = packet(&[&head(0xC0)[..], b"\x00\x01c"].concat());
    let set = |username, password| ConnectEdits { username, password, ..Default::default() };
    let result = edited(&left_out, &set(Some("me"), PasswordEdit::Keep));
    assert_eq!(result, Ok(packet(&[&head(0x80)[..], b"\x00\x01c\x00\x02me"].concat())));
    let result = edited(&left_out, &set(Some("me"), PasswordEdit::Set(b"pw")));
    let both = packet(&[&head(0xC0)[..], b"\x00\x01c\x00\x02me\x00\x02pw"].concat());
    assert_eq!(result, Ok(both));
    let result = edited(&left_out, &set(None, PasswordEdit::Set(b"pw")));
    assert_eq!(result, Err(RewriteError::PasswordWithoutUsername));
    let unchanged = edited(&left_out, &set(None, PasswordEdit::Remove));
    assert_eq!(unchanged.as_ref(), Ok(&left_out));
    let id = ConnectEdits { client_id: Some("dd"), ..Default::default() };
    let result = edited(&left_out, &id);
    assert_eq!(result, Ok(packet(&[&head(0xC0)[..], b"\x00\x02dd"].concat())));
}

/// What is odd about a packet stays, where the edits leave it.
#[test]
fn after_a_lenient_reading() {
    // Reserved flag, Will flags without a Will, and a password without a username.
    let odd = b"\x00\x04MQTT\x04\x6B\x00\x3C\x00\x01c\x00\x01p";
    let edits = ConnectEdits {
        client_id: Some("dd"),
        password: PasswordEdit::Set(b"new"),
        ..Default::default()
    };
    let result = edited_leniently(&packet(odd), &edits);
    assert_eq!(result, Ok(packet(b"\x00\x04MQTT\x04\x6B\x00\x3C\x00\x02dd\x00\x03new")));
    // Trailing bytes stay at the end.
    let trailing = packet(b"\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c\x00\x01x");
    let edits = ConnectEdits { username: Some("me"), ..Default::default() };
    let result = edited_leniently(&trailing, &edits);
    let expected = b"\x00\x04MQTT\x04\x82\x00\x3C\x00\x01c\x00\x02me\x00\x01x";
    assert_eq!(result, Ok(packet(expected)));
    // A password that runs past the end: there is no telling where a username would belong.
    let cut = packet(b"\x00\x04MQTT\x05\x40\x00\x3C\x00\x00\x01c\x00\x09p");
    assert_eq!(edited_leniently(&cut, &edits), Err(Malformed::Truncated.into()));
    let id = ConnectEdits { client_id: Some("dd"), ..Default::default() };
    let result = edited_leniently(&cut, &id);
    assert_eq!(result, Ok(packet(b"\x00\x04MQTT\x05\x40\x00\x3C\x00\x00\x02dd\x00\x09p")));
}

#[test]
fn user_properties_after_a_lenient_reading() {
    let with = |block: &[u8]| {
        let block = [varint(block.len()), block.to_vec()].concat();
        packet(&[b"\x00\x04MQTT\x05\x02\x00\x3C", &block[..], &field(b"c")].concat())
    };
    let edits = ConnectEdits { user_properties: &[("k", "v")], ..Default::default() };
    // Twice, with an invalid value, not allowed here, not UTF-8.
    for block in
        [&b"\x22\x00\x01\x22\x00\x02"[..], b"\x17\x02", b"\x13\x00\x01", b"\x15\x00\x01\xFF"]
    {
        let result = edited_leniently(&with(block), &edits);
        assert_eq!(result, Ok(with(&[block, &user_property("k", "v")].concat())));
    }
    // A string that would swallow what is appended, and a property without a known end.
    for (block, error) in [
        (&b"\x15\x00\x09a"[..], Malformed::Truncated),
        (b"\x7F\x00", Malformed::UnknownProperty(0x7F)),
    ] {
        assert_eq!(edited_leniently(&with(block), &edits), Err(error.into()));
    }
}

#[test]
fn messages() {
    let message = |error: RewriteError| error.to_string();
    assert_eq!(
        message(RewriteError::FieldTooLong { field: "client ID", len: 70_000 }),
        "the new client ID of 70000 bytes exceeds 65535 bytes"
    );
    assert_eq!(
        message(RewriteError::Nul("username")),
        "the new username contains the character U+0000"
    );
    assert_eq!(
        message(Malformed::Truncated.into()),
        "the CONNECT does not conform where it is to be rewritten: a field runs past the end of the \
         packet or of its properties"
    );
}
