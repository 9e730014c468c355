//! CONNECT packets that a strict reader refuses and a lenient one accepts.

use mqtt_lb::testing::proto::mqtt::{
    Connect, InvalidConnect, Malformed, Progress, Qos, Strictness, Version, connect,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{LIMIT, connect as packet, encoder};

fn lenient(packet: &[u8]) -> Result<Progress<Connect>, InvalidConnect> {
    connect::parse(packet, LIMIT, Strictness::Lenient)
}

/// The packet as it is read leniently; a strict reader must refuse it for `violation`.
#[track_caller]
fn accept(packet: &[u8], violation: Malformed) -> Connect {
    let refusal = connect::parse(packet, LIMIT, Strictness::Strict).unwrap_err();
    assert_eq!(refusal.reason, violation);
    for end in 0..packet.len() {
        let parsed = lenient(&packet[..end]);
        assert!(matches!(parsed, Ok(Progress::Incomplete { need }) if need > end), "{parsed:?}");
    }
    let parsed = lenient(packet);
    let Ok(Progress::Complete(connect)) = parsed else { panic!("{parsed:?}") };
    assert!(!connect.conforms);
    assert_eq!((connect.len, connect.violation(packet)), (packet.len(), Some(violation)));
    connect
}

/// What operators have reported.
#[test]
fn real_devices() {
    // An ID whose last two bytes are not UTF-8.
    let bytes = b"\x10\x1A\x00\x04MQTT\x04\x02\x00\x3C\x00\x0E123456abcdef\xA0\x0F";
    let connect = accept(bytes, Malformed::Utf8("client ID"));
    assert_eq!(connect.client_id.text(bytes), "123456abcdef\\xA0\u{F}");
    assert_eq!(connect.client_id.of(bytes), "");
    let bytes = packet(b"\x00\x04MQTT\x04\x02\x00\x3C\x00\x04dev\x00");
    let connect = accept(&bytes, Malformed::Nul("client ID"));
    assert_eq!(connect.client_id.of(&bytes), "dev\0");
    let bytes = packet(b"\x00\x04MQTT\x04\x42\x00\x3C\x00\x03dev\x00\x02pw");
    let connect = accept(&bytes, Malformed::PasswordWithoutUsername);
    assert_eq!(connect.username, None);
    assert_eq!(connect.password.map(|span| &bytes[span.range()]), Some(&b"pw"[..]));
    let bytes = packet(b"\x00\x04MQTT\x04\x0A\x00\x3C\x00\x03dev");
    let connect = accept(&bytes, Malformed::WillFlagsWithoutWill);
    assert!(connect.clean_start && connect.will.is_none());
}

#[test]
fn flags_and_lengths() {
    let id = |bytes: &[u8], violation| {
        let connect = accept(bytes, violation);
        assert_eq!(connect.client_id.of(bytes), "dev");
        connect
    };
    for first in 0x11..=0x1F {
        let mut bytes = packet(b"\x00\x04MQTT\x04\x02\x00\x3C\x00\x03dev");
        bytes[0] = first;
        id(&bytes, Malformed::HeaderFlags(first));
    }
    let bytes = b"\x10\x90\x00\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x03dev";
    id(bytes, Malformed::RemainingLengthNotMinimal);
    let bytes = packet(b"\x00\x04MQTT\x04\x03\x00\x3C\x00\x03dev");
    id(&bytes, Malformed::ReservedConnectFlag);
    let bytes = packet(b"\x00\x04MQTT\x04\x1C\x00\x3C\x00\x03dev\x00\x01t\x00\x01p");
    let will = id(&bytes, Malformed::WillQos).will.unwrap();
    assert_eq!((will.qos, will.topic.of(&bytes)), (Qos::ExactlyOnce, "t"));
    let bytes = packet(b"\x00\x04MQTT\x04\xC2\x00\x3C\x00\x03dev\x00\x02me\x00\x01p??");
    let connect = id(&bytes, Malformed::TrailingBytes(2));
    assert!(connect.username.is_some() && connect.password.is_some());
    // What follows the client ID is cut.
    let bytes = packet(b"\x00\x04MQTT\x04\xC6\x00\x3C\x00\x03dev\x00\x09t");
    let connect = id(&bytes, Malformed::Truncated);
    assert!(connect.will.is_none() && connect.username.is_none() && connect.password.is_none());
    let bytes = packet(b"\x00\x04MQTT\x04\xC2\x00\x3C\x00\x03dev\x00\x02me\x00\x09p");
    let connect = id(&bytes, Malformed::Truncated);
    assert_eq!(connect.username.map(|span| span.of(&bytes)), Some("me"));
    assert_eq!(connect.password, None);
}

#[test]
fn properties() {
    let auth = b"\x15\x00\x01a";
    for (block, violation, is_read_on) in [
        (
            &b"\x22\x00\x01\x22\x00\x01"[..],
            Malformed::DuplicateProperty("Topic Alias Maximum"),
            true,
        ),
        (b"\x17\x02", Malformed::PropertyValue("Request Problem Information"), true),
        (b"\x13\x00\x01", Malformed::MisplacedProperty("Server Keep Alive"), true),
        (b"\x26\x00\x01\xFF\x00\x00", Malformed::Utf8("User Property"), true),
        (b"\xA2\x00\x00\x01", Malformed::VarintNotMinimal, true),
        (b"\x7F\x00", Malformed::UnknownProperty(0x7F), false),
    ] {
        let block = [block, auth].concat();
        let len = [u8::try_from(block.len()).unwrap()];
        let head = b"\x00\x04MQTT\x05\x02\x00\x3C";
        let bytes = packet(&[&head[..], &len, &block, b"\x00\x03dev"].concat());
        let connect = accept(&bytes, violation);
        assert_eq!(connect.client_id.of(&bytes), "dev");
        assert_eq!(connect.auth_method, is_read_on, "{violation}");
    }
    let bytes = packet(b"\x00\x04MQTT\x05\x02\x00\x3C\x05\x27\x00\x00\x00\x00\x00\x03dev");
    let connect = accept(&bytes, Malformed::PropertyValue("Maximum Packet Size"));
    assert_eq!(connect.maximum_packet_size, None);
    let bytes = packet(b"\x00\x04MQTT\x05\x02\x00\x3C\x04\x16\x00\x01d\x00\x03dev");
    accept(&bytes, Malformed::AuthenticationDataWithoutMethod);
    // Those of the Will.
    let bytes = packet(
        b"\x00\x04MQTT\x05\x86\x00\x3C\x00\x00\x03dev\x02\x7F\x00\x00\x01t\x00\x01p\x00\x02me",
    );
    let connect = accept(&bytes, Malformed::UnknownProperty(0x7F));
    assert_eq!(connect.username.map(|span| span.of(&bytes)), Some("me"));
}

#[test]
fn unknown_levels() {
    for (name, level, version) in [
        ("MQIsdp", 0, Version::V31),
        ("MQIsdp", 4, Version::V31),
        ("MQTT", 3, Version::V311),
        ("MQTT", 0x83, Version::V311),
        ("MQTT", 6, Version::V5),
        ("MQTT", 0xFF, Version::V5),
    ] {
        let head = [&crate::string(name)[..], &[level], b"\x02\x00\x3C"].concat();
        let properties: &[u8] = if version == Version::V5 { b"\x00" } else { b"" };
        let violation = Malformed::ProtocolLevel { name, level };
        let bytes = packet(&[&head, properties, b"\x00\x03dev"].concat());
        let connect = accept(&bytes, violation);
        assert_eq!((connect.version, connect.client_id.of(&bytes)), (version, "dev"));
        // Not of the form guessed: refused for its level, in words of that level.
        let bytes = packet(&[&head, properties, b"\x00\x09dev"].concat());
        let refusal = lenient(&bytes).unwrap_err();
        assert_eq!(refusal, InvalidConnect { reason: violation, version: None });
        assert!(refusal.connack().is_some());
    }
}

/// Without a client ID there is no broker to choose.
#[test]
fn what_cannot_be_routed() {
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\n"[..], Malformed::NotConnect(b'G')),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", Malformed::ProtocolName),
        (b"\x10\xFF\xFF\xFF\xFF\x7F", Malformed::RemainingLength),
        (b"\x10\x10\x00\x04mqtt\x04", Malformed::ProtocolName),
        (b"\x10\x0F\x00\x04MQTT\x04\x02\x00\x3C\x00\x09dev", Malformed::Truncated),
        (b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3C\x09\x00\x03dev", Malformed::Truncated),
        (b"\x10\xFF\xFF\x7F", Malformed::TooLarge { len: 2_097_155, limit: LIMIT }),
    ] {
        assert_eq!(lenient(bytes).unwrap_err().reason, reason, "{bytes:x?}");
    }
}

/// Strict and lenient readers differ in nothing but what the first refuses.
fn compare(bytes: &[u8]) {
    let strict = connect::parse(bytes, LIMIT, Strictness::Strict);
    match (lenient(bytes), strict) {
        (Ok(Progress::Complete(connect)), Err(refusal)) => {
            assert!(!connect.conforms);
            assert_eq!(connect.violation(bytes), Some(refusal.reason), "{bytes:x?}");
        }
        (Ok(Progress::Complete(connect)), strict) => {
            assert!(connect.conforms);
            assert_eq!((strict, connect.violation(bytes)), (Ok(Progress::Complete(connect)), None));
        }
        (lenient @ Ok(Progress::Incomplete { .. }), Ok(strict)) => assert_eq!(lenient, Ok(strict)),
        (Ok(Progress::Incomplete { .. }), Err(_)) => {}
        (Err(error), strict) => assert!(strict.is_err(), "{error:?} {bytes:x?}"),
    }
}

proptest! {
    #[test]
    fn the_same_packets_conform(packet in encoder::connect()) {
        compare(&packet.encode());
    }

    #[test]
    fn damaged_packets(
        packet in encoder::connect(),
        damages in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = packet.encode();
        for (at, byte) in damages {
            // Most of what there is to damage comes early.
            let at = at.index(bytes.len().min(60));
            bytes[at] = byte;
            compare(&bytes);
        }
    }

    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..200)) {
        compare(&bytes);
        compare(&[b"\x10\x40\x00\x04MQTT\x05\xC6", &bytes[..]].concat());
        compare(&[b"\x10\x40\x00\x04MQTT\x04\xC6", &bytes[..]].concat());
    }
}
