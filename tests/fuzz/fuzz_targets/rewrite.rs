//! A rewritten CONNECT is one that differs in the named fields only.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz rewrite`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_lb::testing::proto::mqtt::{
    Connect, ConnectEdits, PasswordEdit, Progress, Span, Strictness, connect, rewrite::rewrite,
};

/// Client ID, username, password (`Some(None)` removes it), user properties, and the packet: as the
/// last it takes the rest of the input as it is.
type Input<'a> =
    (Option<&'a str>, Option<&'a str>, Option<Option<&'a [u8]>>, Vec<(&'a str, &'a str)>, &'a [u8]);

fuzz_target!(|input: Input<'_>| {
    let (client_id, username, password, user_properties, packet) = input;
    let edits = ConnectEdits {
        client_id,
        username,
        password: match password {
            None => PasswordEdit::Keep,
            Some(None) => PasswordEdit::Remove,
            Some(Some(bytes)) => PasswordEdit::Set(bytes),
        },
        user_properties: &user_properties,
    };
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let Some(before) = parse(packet, strictness) else { continue };
        let packet = &packet[..before.len];
        assert_eq!(rewrite(packet, &before, &ConnectEdits::default()).as_deref(), Ok(packet));
        let Ok(result) = rewrite(packet, &before, &edits) else { continue };
        let after = parse(&result, strictness).expect("a rewritten CONNECT parses");
        assert_eq!(after.len, result.len());
        assert!(after.conforms || !before.conforms);
        fields(&before, packet, &after, &result, &edits);
        bytes(&before, packet, &after, &result, &edits);
    }
});

fn parse(bytes: &[u8], strictness: Strictness) -> Option<Connect> {
    match connect::parse(bytes, usize::MAX, strictness) {
        Ok(Progress::Complete(connect)) => Some(connect),
        _ => None,
    }
}

/// Named fields have their new values, all others their old ones.
fn fields(
    before: &Connect,
    packet: &[u8],
    after: &Connect,
    result: &[u8],
    edits: &ConnectEdits<'_>,
) {
    let old = |span: Span| &packet[span.range()];
    let new = |span: Span| &result[span.range()];
    let id = edits.client_id.map_or(old(before.client_id), str::as_bytes);
    assert_eq!(new(after.client_id), id);
    let username = edits.username.map(str::as_bytes).or(before.username.map(old));
    assert_eq!(after.username.map(new), username);
    let password = match edits.password {
        PasswordEdit::Keep => before.password.map(old),
        PasswordEdit::Remove => None,
        PasswordEdit::Set(bytes) => Some(bytes),
    };
    assert_eq!(after.password.map(new), password);
    let topics = (before.will.map(|will| old(will.topic)), after.will.map(|will| new(will.topic)));
    assert_eq!(topics.0, topics.1);
    let others = |connect: &Connect| Connect {
        len: 0,
        client_id: before.client_id,
        username: None,
        password: None,
        will: connect.will.zip(before.will).map(|(mut will, before)| {
            will.topic = before.topic;
            will
        }),
        conforms: true,
        ..*connect
    };
    assert_eq!(others(after), others(before));
}

/// With the named fields set to the same values, both packets are the same bytes.
fn bytes(
    before: &Connect,
    packet: &[u8],
    after: &Connect,
    result: &[u8],
    edits: &ConnectEdits<'_>,
) {
    let blank = ConnectEdits {
        client_id: edits.client_id.and(Some("")),
        username: edits.username.and(Some("")),
        password: match edits.password {
            PasswordEdit::Set(_) => PasswordEdit::Set(b""),
            edit => edit,
        },
        user_properties: &[],
    };
    let after = rewrite(result, after, &blank).expect("the same fields again");
    let blank = ConnectEdits { user_properties: edits.user_properties, ..blank };
    let before = rewrite(packet, before, &blank).expect("no longer than with the edits");
    assert_eq!(body(&before), body(&after));
}

/// What follows the remaining length: it stays in a long form only if its value does not change.
fn body(packet: &[u8]) -> &[u8] {
    let length = packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    &packet[1 + length..]
}
