//! CONNECT packets that the standards allow.

use mqtt_lb::testing::proto::mqtt::{
    Connect, Progress, Qos, Strictness, Version, connect, packet_len,
};

use crate::{LIMIT, accept, connect as packet, string};

/// Follows the variable header that the standards show in their example, and fits its flags.
const PAYLOAD: &[u8] = b"\x00\x03dev\x00\x04gone\x00\x03\xFF\x00\xFE\x00\x02me\x00\x02pw";

fn texts<'a>(connect: &Connect, packet: &'a [u8]) -> (&'a str, Option<&'a str>, Option<&'a str>) {
    (
        connect.client_id.of(packet),
        connect.username.map(|span| span.of(packet)),
        connect.will.map(|will| will.topic.of(packet)),
    )
}

#[test]
fn the_example_of_3_1() {
    let packet = packet(&[b"\x00\x06MQIsdp\x03\xCE\x00\x0A", PAYLOAD].concat());
    let connect = accept(&packet);
    assert_eq!(connect.version, Version::V31);
    assert!(connect.clean_start && connect.password.is_some() && !connect.bridge);
    assert_eq!(connect.keep_alive, 10);
    assert_eq!(texts(&connect, &packet), ("dev", Some("me"), Some("gone")));
    let will = connect.will.unwrap();
    assert_eq!((will.qos, will.retain), (Qos::AtLeastOnce, false));
}

/// 3.1.1 figure 3.6.
#[test]
fn the_example_of_3_1_1() {
    let packet = packet(&[b"\x00\x04MQTT\x04\xCE\x00\x0A", PAYLOAD].concat());
    let connect = accept(&packet);
    assert_eq!(connect.version, Version::V311);
    assert!(connect.clean_start && connect.password.is_some() && !connect.bridge);
    assert_eq!((connect.keep_alive, connect.session_expiry), (10, None));
    assert_eq!(texts(&connect, &packet), ("dev", Some("me"), Some("gone")));
    let will = connect.will.unwrap();
    assert_eq!((will.qos, will.retain), (Qos::AtLeastOnce, false));
}

/// 5.0 figure 3-6: the same, and a Session Expiry Interval of 10.
#[test]
fn the_example_of_5_0() {
    let head = b"\x00\x04MQTT\x05\xCE\x00\x0A\x05\x11\x00\x00\x00\x0A";
    let payload = b"\x00\x03dev\x00\x00\x04gone\x00\x03\xFF\x00\xFE\x00\x02me\x00\x02pw";
    let packet = packet(&[&head[..], payload].concat());
    let connect = accept(&packet);
    assert_eq!(connect.version, Version::V5);
    assert!(connect.clean_start && connect.password.is_some() && !connect.auth_method);
    assert_eq!((connect.keep_alive, connect.session_expiry), (10, Some(10)));
    assert_eq!(texts(&connect, &packet), ("dev", Some("me"), Some("gone")));
    let will = connect.will.unwrap();
    assert_eq!((will.qos, will.retain), (Qos::AtLeastOnce, false));
}

/// The least a client can send.
#[test]
fn an_empty_client_id_is_fine_in_every_version() {
    for (body, version) in [
        (&b"\x00\x06MQIsdp\x03\x00\x00\x00\x00\x00"[..], Version::V31),
        (b"\x00\x04MQTT\x04\x00\x00\x00\x00\x00", Version::V311),
        (b"\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x00", Version::V5),
    ] {
        let packet = packet(body);
        let connect = accept(&packet);
        assert_eq!(connect.version, version);
        assert!(connect.client_id.is_empty() && !connect.clean_start);
        assert_eq!(texts(&connect, &packet), ("", None, None));
        assert!(connect.password.is_none() && connect.will.is_none());
    }
}

#[test]
fn the_bridge_bit() {
    for (head, version, bridge) in [
        (&b"\x00\x06MQIsdp\x83"[..], Version::V31, true),
        (b"\x00\x06MQIsdp\x03", Version::V31, false),
        (b"\x00\x04MQTT\x84", Version::V311, true),
        (b"\x00\x04MQTT\x04", Version::V311, false),
        // Taken and without meaning, as with Mosquitto.
        (b"\x00\x04MQTT\x85", Version::V5, false),
    ] {
        let properties: &[u8] = if version == Version::V5 { b"\x00" } else { b"" };
        let packet = packet(&[head, b"\x02\x00\x3C", properties, b"\x00\x01b"].concat());
        let connect = accept(&packet);
        assert_eq!((connect.version, connect.bridge), (version, bridge), "{head:x?}");
        assert_eq!(connect.client_id.of(&packet), "b");
    }
}

/// 3.1.1 figure 1.2: "A" and U+2A6D4; then a byte order mark, which is no fault either
/// [MQTT-1.5.3-3], control characters and a noncharacter, which are only discouraged.
#[test]
fn client_ids_beyond_ascii() {
    for text in ["A\u{2A6D4}", "\u{FEFF}A", "\u{1}\u{7F}\u{9F}", "\u{FFFF}"] {
        let packet = packet(&[b"\x00\x04MQTT\x04\x02\x00\x3C", &string(text)[..]].concat());
        assert_eq!(accept(&packet).client_id.of(&packet), text);
    }
    let packet = packet(b"\x00\x04MQTT\x04\x02\x00\x3C\x00\x05A\xF0\xAA\x9B\x94");
    assert_eq!(accept(&packet).client_id.of(&packet), "A\u{2A6D4}");
    assert_eq!(accept(&packet).client_id.range(), 14..19);
}

#[test]
fn every_will_qos_and_retain() {
    for (flags, qos, retain) in [
        (0x04, Qos::AtMostOnce, false),
        (0x0C, Qos::AtLeastOnce, false),
        (0x14, Qos::ExactlyOnce, false),
        (0x24, Qos::AtMostOnce, true),
        (0x34, Qos::ExactlyOnce, true),
    ] {
        // A topic that brokers will hardly take, and an empty payload: theirs to judge.
        let body = [b"\x00\x04MQTT\x04", &[flags][..], b"\x00\x00\x00\x01c\x00\x02a#\x00\x00"];
        let packet = packet(&body.concat());
        let will = accept(&packet).will.unwrap();
        assert_eq!((will.qos, will.retain, will.topic.of(&packet)), (qos, retain, "a#"));
    }
}

#[test]
fn usernames_and_passwords() {
    for (flags, payload, username, has_password) in [
        (0x80, &b"\x00\x02me"[..], Some("me"), false),
        (0xC0, b"\x00\x02me\x00\x03\x00\xFF\x00", Some("me"), true),
        (0xC0, b"\x00\x00\x00\x00", Some(""), true),
    ] {
        let head = [b"\x00\x04MQTT\x04", &[flags][..], b"\x00\x00\x00\x01c"].concat();
        let packet = packet(&[&head, payload].concat());
        let connect = accept(&packet);
        assert_eq!(connect.username.map(|span| span.of(&packet)), username);
        assert_eq!(connect.password.is_some(), has_password);
    }
    // 5.0 §3.1.2.9: a password alone, for tokens.
    let packet = packet(b"\x00\x04MQTT\x05\x40\x00\x00\x00\x00\x01c\x00\x03jwt");
    let connect = accept(&packet);
    assert!(connect.password.is_some() && connect.username.is_none());
}

/// 3.1 asks servers to put up with these three.
#[test]
fn liberties_of_3_1() {
    for (flags, payload) in [
        // The bit that is "not used".
        (0x01, &b""[..]),
        // Will QoS and Will Retain, disregarded without a Will; even a QoS of 3.
        (0x38, b""),
        // A username and password announced and left out, or only the password.
        (0xC0, b""),
        (0xC0, b"\x00\x02me"),
    ] {
        let head = [b"\x00\x06MQIsdp\x03", &[flags][..], b"\x00\x00\x00\x01c"].concat();
        let packet = packet(&[&head, payload].concat());
        let connect = accept(&packet);
        assert!(connect.password.is_none() && connect.will.is_none());
        assert_eq!(connect.username.is_some(), !payload.is_empty());
    }
}

/// Each with its identifier of 5.0 table 2-4, and each alone.
const CONNECT_PROPERTIES: [&[u8]; 12] = [
    b"\x11\xFF\xFF\xFF\xFF",
    b"\x21\x00\x01",
    b"\x27\x00\x00\x00\x01",
    b"\x22\x00\x00",
    b"\x19\x00",
    b"\x19\x01",
    b"\x17\x00",
    b"\x17\x01",
    b"\x26\x00\x01k\x00\x01v",
    b"\x26\x00\x00\x00\x00",
    b"\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01v",
    b"\x15\x00\x0BSCRAM-SHA-1",
];

#[test]
fn every_connect_property_alone() {
    for property in CONNECT_PROPERTIES {
        let connect = with_properties(property);
        let session_expiry = (property[0] == 0x11).then_some(u32::MAX);
        assert_eq!(connect.session_expiry, session_expiry, "{property:x?}");
        assert_eq!(connect.auth_method, property[0] == 0x15, "{property:x?}");
    }
}

#[test]
fn all_connect_properties_in_either_order() {
    let all: [&[u8]; 10] = [
        b"\x11\x00\x00\x0E\x10",
        b"\x21\xFF\xFF",
        b"\x27\xFF\xFF\xFF\xFF",
        b"\x22\xFF\xFF",
        b"\x19\x01",
        b"\x17\x01",
        b"\x26\x00\x01k\x00\x01v",
        b"\x15\x00\x01m",
        b"\x16\x00\x02\x00\xFF",
        b"\x26\x00\x00\x00\x00",
    ];
    let mut reversed = all;
    reversed.reverse();
    for order in [all, reversed] {
        let connect = with_properties(&order.concat());
        assert_eq!((connect.session_expiry, connect.auth_method), (Some(3600), true));
    }
}

fn with_properties(properties: &[u8]) -> Connect {
    let len = [u8::try_from(properties.len()).unwrap()];
    assert!(len[0] < 0x80);
    let body = [&b"\x00\x04MQTT\x05\x02\x00\x3C"[..], &len, properties, b"\x00\x02id"].concat();
    let packet = packet(&body);
    let connect = accept(&packet);
    assert_eq!(connect.client_id.of(&packet), "id");
    connect
}

#[test]
fn every_will_property() {
    let all: [&[u8]; 9] = [
        b"\x18\x00\x00\x00\x00",
        b"\x01\x00",
        b"\x02\xFF\xFF\xFF\xFF",
        b"\x03\x00\x04text",
        b"\x08\x00\x05reply",
        b"\x09\x00\x03\x00\xFF\x00",
        b"\x26\x00\x01k\x00\x01v",
        b"\x26\x00\x01k\x00\x01v",
        b"\x26\x00\x00\x00\x00",
    ];
    let mut reversed = all;
    reversed.reverse();
    let together = [all.concat(), reversed.concat(), b"\x01\x01".to_vec(), Vec::new()];
    for properties in all.iter().map(|property| property.to_vec()).chain(together) {
        let len = [u8::try_from(properties.len()).unwrap()];
        let head = [&b"\x00\x04MQTT\x05\x36\x00\x3C\x00\x00\x02id"[..], &len].concat();
        let packet = packet(&[&head, &properties, &b"\x00\x03w/t\x00\x02\xFF\x00"[..]].concat());
        let connect = accept(&packet);
        let will = connect.will.unwrap();
        assert_eq!((will.qos, will.retain), (Qos::ExactlyOnce, true));
        assert_eq!(texts(&connect, &packet), ("id", None, Some("w/t")));
    }
}

/// A remaining length in more bytes than it needs is legal before 5.0, which forbids it.
#[test]
fn long_forms_of_the_remaining_length() {
    for length in [&b"\x0D"[..], b"\x8D\x00", b"\x8D\x80\x00", b"\x8D\x80\x80\x00"] {
        let packet = [b"\x10", length, b"\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c"].concat();
        let connect = accept(&packet);
        assert_eq!(connect.client_id.of(&packet), "c");
    }
}

/// 3.1.1 table 2.4: the ends of the ranges of one, two, three and four bytes.
#[test]
fn remaining_lengths_of_every_size() {
    for (length, remaining) in [
        (&b"\x00"[..], 0),
        (b"\x7F", 127),
        (b"\x80\x01", 128),
        (b"\xFF\x7F", 16_383),
        (b"\x80\x80\x01", 16_384),
        (b"\xFF\xFF\x7F", 2_097_151),
        (b"\x80\x80\x80\x01", 2_097_152),
        (b"\xFF\xFF\xFF\x7F", 268_435_455),
    ] {
        let head = [b"\x10", length].concat();
        assert_eq!(packet_len(&head), Ok(Some(head.len() + remaining)));
        for end in 0..head.len() {
            assert_eq!(packet_len(&head[..end]), Ok(None));
        }
        if remaining > 0 {
            let need = head.len() + remaining;
            assert_eq!(
                connect::parse(&head, usize::MAX, Strictness::Strict),
                Ok(Progress::Incomplete { need })
            );
        }
    }
}

#[test]
fn a_packet_as_long_as_the_limit() {
    let id = string(&"x".repeat(200));
    let packet = packet(&[b"\x00\x04MQTT\x04\x02\x00\x3C", &id[..]].concat());
    let parsed = connect::parse(&packet, packet.len(), Strictness::Strict);
    assert!(matches!(parsed, Ok(Progress::Complete(_))), "{parsed:?}");
    let head = connect::parse(&packet[..20], packet.len(), Strictness::Strict);
    assert_eq!(head, Ok(Progress::Incomplete { need: packet.len() }));
    assert!(connect::parse(&packet[..20], packet.len() - 1, Strictness::Strict).is_err());
}

/// A span knows only its own packet; in any other it must at least not panic.
#[test]
fn spans_of_other_bytes() {
    let packet = packet(b"\x00\x04MQTT\x04\x02\x00\x3C\x00\x05hello");
    let Ok(Progress::Complete(connect)) = connect::parse(&packet, LIMIT, Strictness::Strict) else {
        panic!()
    };
    assert_eq!(connect.client_id.of(b"short"), "");
    assert_eq!(connect.client_id.of(&[0xFF; 40]), "");
    assert_eq!(connect.client_id.of(&[b'x'; 40]), "xxxxx");
}

/// It is copied about in every session, so that it should stay within a cache line.
#[test]
fn a_connect_is_small() {
    assert!(size_of::<Connect>() <= 64, "{}", size_of::<Connect>());
}
