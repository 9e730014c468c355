//! DISCONNECT packets, and the names of their codes.

use mqtt_lb::testing::proto::mqtt::{Disconnect, Malformed, Progress, Version, disconnect, reason};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

const fn code(code: u8) -> Progress<Disconnect> {
    Progress::Complete(Disconnect { code })
}

#[test]
fn without_a_code() {
    for version in VERSIONS {
        assert_eq!(disconnect::parse(b"\xE0\x00", version), Ok(code(0)));
        // Whatever follows it.
        assert_eq!(disconnect::parse(b"\xE0\x00\x8E", version), Ok(code(0)));
    }
}

#[test]
fn with_a_code() {
    for packet in [
        &b"\xE0\x01\x8E"[..],
        b"\xE0\x02\x8E\x00",
        b"\xE0\x81\x00\x8E",
        // A Session Expiry Interval, and a Reason String of which only the identifier has arrived.
        b"\xE0\x07\x8E\x05\x11\x00\x00\x00\x00",
        b"\xE0\xE9\x07\x8E\xE6\x07\x1F",
    ] {
        assert_eq!(disconnect::parse(packet, Version::V5), Ok(code(0x8E)), "{packet:x?}");
        // 3.x has no codes.
        assert_eq!(disconnect::parse(packet, Version::V311), Ok(code(0)), "{packet:x?}");
    }
}

#[test]
fn byte_by_byte() {
    for (bytes, need) in [(&b""[..], 2), (b"\xE0", 2), (b"\xE0\x81", 3), (b"\xE0\x02", 3)] {
        let incomplete = Ok(Progress::Incomplete { need });
        assert_eq!(disconnect::parse(bytes, Version::V5), incomplete, "{bytes:x?}");
    }
}

#[test]
fn other_packets() {
    for version in VERSIONS {
        let parse = |bytes: &[u8]| disconnect::parse(bytes, version);
        assert_eq!(parse(b"\xC0\x00"), Err(Malformed::NotDisconnect(0xC0)));
        assert_eq!(parse(b"\xE1\x00"), Err(Malformed::HeaderFlags(0xE1)));
        assert_eq!(parse(b"\xE0\xFF\xFF\xFF\xFF\x01"), Err(Malformed::RemainingLength));
    }
    let message = Malformed::NotDisconnect(0xC0).to_string();
    assert_eq!(message, "the packet is not a DISCONNECT (first byte 0xc0)");
}

/// 5.0 table 3-10, whole, and 0x8C of table 2-6.
#[test]
fn every_code_has_its_name() {
    let names = [
        (0x00, "normal_disconnection"),
        (0x04, "disconnect_with_will_message"),
        (0x80, "unspecified_error"),
        (0x81, "malformed_packet"),
        (0x82, "protocol_error"),
        (0x83, "implementation_specific_error"),
        (0x87, "not_authorized"),
        (0x89, "server_busy"),
        (0x8B, "server_shutting_down"),
        (0x8C, "bad_authentication_method"),
        (0x8D, "keep_alive_timeout"),
        (0x8E, "session_taken_over"),
        (0x8F, "topic_filter_invalid"),
        (0x90, "topic_name_invalid"),
        (0x93, "receive_maximum_exceeded"),
        (0x94, "topic_alias_invalid"),
        (0x95, "packet_too_large"),
        (0x96, "message_rate_too_high"),
        (0x97, "quota_exceeded"),
        (0x98, "administrative_action"),
        (0x99, "payload_format_invalid"),
        (0x9A, "retain_not_supported"),
        (0x9B, "qos_not_supported"),
        (0x9C, "use_another_server"),
        (0x9D, "server_moved"),
        (0x9E, "shared_subscriptions_not_supported"),
        (0x9F, "connection_rate_exceeded"),
        (0xA0, "maximum_connect_time"),
        (0xA1, "subscription_identifiers_not_supported"),
        (0xA2, "wildcard_subscriptions_not_supported"),
    ];
    for code in 0..=u8::MAX {
        let name = names.iter().find(|(known, _)| *known == code).map_or("unknown", |n| n.1);
        assert_eq!(reason::disconnect_name(code), name, "{code:#x}");
    }
}
