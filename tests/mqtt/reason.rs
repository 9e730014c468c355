//! The CONNACKs this proxy sends, and the names of those it sees.

use mqtt_lb::testing::proto::mqtt::Version::{V5, V31, V311};
use mqtt_lb::testing::proto::mqtt::{RejectReason, Version, reason};

#[test]
fn every_refusal_in_every_version() {
    for (refuse, v3, v5) in [
        (RejectReason::ServerUnavailable, 3, 0x88),
        (RejectReason::ServerBusy, 3, 0x89),
        (RejectReason::QuotaExceeded, 3, 0x97),
        (RejectReason::ConnectionRateExceeded, 3, 0x9F),
        (RejectReason::IdentifierRejected, 2, 0x85),
        (RejectReason::NotAuthorized, 5, 0x87),
    ] {
        assert_eq!(*refuse.connack(V31), [0x20, 2, 0, v3]);
        assert_eq!(*refuse.connack(V311), [0x20, 2, 0, v3]);
        assert_eq!(*refuse.connack(V5), [0x20, 3, 0, v5, 0]);
        assert_eq!((refuse.code(V31), refuse.code(V311), refuse.code(V5)), (v3, v3, v5));
    }
}

/// 3.1.1 table 3.1 and 5.0 table 3-1, whole.
#[test]
fn every_code_has_its_name() {
    let v3 = [
        (0, "accepted"),
        (1, "unacceptable_protocol_version"),
        (2, "identifier_rejected"),
        (3, "server_unavailable"),
        (4, "bad_username_or_password"),
        (5, "not_authorized"),
    ];
    let v5 = [
        (0x00, "success"),
        (0x80, "unspecified_error"),
        (0x81, "malformed_packet"),
        (0x82, "protocol_error"),
        (0x83, "implementation_specific_error"),
        (0x84, "unsupported_protocol_version"),
        (0x85, "client_identifier_not_valid"),
        (0x86, "bad_username_or_password"),
        (0x87, "not_authorized"),
        (0x88, "server_unavailable"),
        (0x89, "server_busy"),
        (0x8A, "banned"),
        (0x8C, "bad_authentication_method"),
        (0x90, "topic_name_invalid"),
        (0x95, "packet_too_large"),
        (0x97, "quota_exceeded"),
        (0x99, "payload_format_invalid"),
        (0x9A, "retain_not_supported"),
        (0x9B, "qos_not_supported"),
        (0x9C, "use_another_server"),
        (0x9D, "server_moved"),
        (0x9F, "connection_rate_exceeded"),
    ];
    let named = |version, code| {
        let table = if version == V5 { &v5[..] } else { &v3[..] };
        let own = table.iter().find(|(known, _)| *known == code);
        // A 3.1.1 broker's answer to a 5.0 client.
        own.or_else(|| v3.iter().find(|(known, _)| *known == code))
            .map_or("unknown", |&(_, name)| name)
    };
    for version in [V31, V311, V5] {
        for code in 0..=u8::MAX {
            assert_eq!(reason::name(version, code), named(version, code), "{version:?} {code:#x}");
        }
    }
}

#[test]
fn versions() {
    let stated = |version: Version| (version.level(), version.protocol_name());
    assert_eq!([V31, V311, V5].map(stated), [(3, "MQIsdp"), (4, "MQTT"), (5, "MQTT")]);
}
