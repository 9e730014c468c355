//! CONNECT packets that do not conform, what each is told, and how early.

use mqtt_lb::testing::proto::mqtt::{
    InvalidConnect, Malformed, Progress, Strictness, Version, connect,
};

use crate::{LIMIT, connect as packet, refuse, string};

/// The bytes of a CONNACK, or none.
type Answer = Option<&'static [u8]>;

/// 3.x closes without a CONNACK [MQTT-3.1.4-1], and so does a client whose version is unknown.
const SILENCE: Answer = None;
const MALFORMED_PACKET: Answer = Some(b"\x20\x03\x00\x81\x00");
const PROTOCOL_ERROR: Answer = Some(b"\x20\x03\x00\x82\x00");
const WRONG_LEVEL_V3: Answer = Some(b"\x20\x02\x00\x01");
const WRONG_LEVEL_V5: Answer = Some(b"\x20\x03\x00\x84\x00");
const PACKET_TOO_LARGE: Answer = Some(b"\x20\x03\x00\x95\x00");

fn check(packet: &[u8], reason: Malformed, version: Option<Version>, connack: Answer) {
    check_early(packet, packet.len(), reason, version, connack);
}

#[track_caller]
fn check_early(
    packet: &[u8],
    after: usize,
    reason: Malformed,
    version: Option<Version>,
    connack: Answer,
) {
    assert_eq!(refuse(packet), (InvalidConnect { reason, version }, after), "{packet:x?}");
    let answer = InvalidConnect { reason, version }.connack();
    assert_eq!(answer.as_deref(), connack, "{packet:x?}");
}

/// The same body in 3.1.1 and, with no properties, in 5.0.
fn both(flags: u8, payload: &[u8]) -> [(Vec<u8>, Version, Answer); 2] {
    let v4 = [b"\x00\x04MQTT\x04", &[flags][..], b"\x00\x3C", payload].concat();
    let v5 = [b"\x00\x04MQTT\x05", &[flags][..], b"\x00\x3C\x00", payload].concat();
    [(packet(&v4), Version::V311, SILENCE), (packet(&v5), Version::V5, MALFORMED_PACKET)]
}

#[test]
fn what_is_no_connect_at_its_first_byte() {
    for (bytes, first) in [
        (&b"GET / HTTP/1.1\r\n"[..], b'G'),
        (b"\x16\x03\x01\x02\x00\x01", 0x16),
        (b"\x00\x00", 0x00),
        (b"\xE0\x00", 0xE0),
        (b"\x30\x05\x00\x01thi", 0x30),
        (b"\xF0\x00", 0xF0),
        (b"PROXY TCP4", b'P'),
    ] {
        let reason = match first {
            // A TLS record happens to have CONNECT's type.
            0x16 => Malformed::HeaderFlags(first),
            _ => Malformed::NotConnect(first),
        };
        check_early(bytes, 1, reason, None, SILENCE);
    }
    for flags in 1..16 {
        let bytes = [0x10 | flags, 0x0C, 0x00, 0x04];
        check_early(&bytes, 1, Malformed::HeaderFlags(0x10 | flags), None, SILENCE);
    }
}

#[test]
fn a_remaining_length_of_five_bytes() {
    let bytes = b"\x10\xFF\xFF\xFF\xFF\x7F\x00\x04MQTT";
    check_early(bytes, 5, Malformed::RemainingLength, None, SILENCE);
    let bytes = b"\x10\x80\x80\x80\x80\x00\x00\x04MQTT";
    check_early(bytes, 5, Malformed::RemainingLength, None, SILENCE);
}

#[test]
fn a_remaining_length_in_its_long_form_in_5_0() {
    let bytes = b"\x10\x8E\x00\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x01c";
    let reason = Malformed::RemainingLengthNotMinimal;
    check_early(bytes, 10, reason, Some(Version::V5), MALFORMED_PACKET);
}

/// Refused as soon as the length is known, and told so where the version came along with it.
#[test]
fn packets_over_the_limit() {
    let limit = 1000;
    for (name, version, answer) in [
        (&b"\x00\x04MQTT\x05"[..], Some(Version::V5), PACKET_TOO_LARGE),
        (b"\x00\x04MQTT\x04", Some(Version::V311), SILENCE),
        (b"\x00\x06MQIsdp\x03", Some(Version::V31), SILENCE),
        (b"\x00\x04MQTT", None, SILENCE),
        (b"\x00\x04HTTP\x05", None, SILENCE),
        (b"", None, SILENCE),
    ] {
        for (length, len) in [
            (&b"\xE6\x07"[..], limit + 1),
            (b"\xFF\xFF\x03", 65_535 + 4),
            (b"\xFF\xFF\xFF\x7F", 268_435_455 + 5),
        ] {
            let packet = [b"\x10", length, name].concat();
            let refusal = connect::parse(&packet, limit, Strictness::Strict).unwrap_err();
            assert_eq!(refusal.reason, Malformed::TooLarge { len, limit });
            assert_eq!(refusal.version, version);
            assert_eq!(refusal.connack().as_deref(), answer);
        }
    }
    let at_the_limit = connect::parse(b"\x10\xE5\x07", limit, Strictness::Strict);
    assert_eq!(at_the_limit, Ok(Progress::Incomplete { need: limit }));
}

#[test]
fn protocol_names() {
    for (name, after) in [
        (&b"\x00\x04MQTX"[..], 8),
        (b"\x00\x04XQTT", 5),
        (b"\x00\x04mqtt", 5),
        (b"\x00\x06MQTTSN", 7),
        (b"\x00\x06MQIsdP", 10),
        (b"\x00\x05MQTT5", 4),
        (b"\x00\x00", 4),
        (b"\x04\x00MQTT", 4),
    ] {
        let packet = packet(&[name, b"\x04\x02\x00\x3C\x00\x01c\x00\x00"].concat());
        check_early(&packet, after, Malformed::ProtocolName, None, SILENCE);
    }
}

#[test]
fn protocol_levels() {
    for (name, level, answer) in [
        ("MQIsdp", 0, WRONG_LEVEL_V3),
        ("MQIsdp", 4, WRONG_LEVEL_V3),
        ("MQIsdp", 5, WRONG_LEVEL_V3),
        ("MQIsdp", 6, WRONG_LEVEL_V3),
        ("MQIsdp", 0x84, WRONG_LEVEL_V3),
        ("MQTT", 0, WRONG_LEVEL_V3),
        ("MQTT", 3, WRONG_LEVEL_V3),
        ("MQTT", 0x83, WRONG_LEVEL_V3),
        ("MQTT", 6, WRONG_LEVEL_V5),
        ("MQTT", 0x7F, WRONG_LEVEL_V5),
        ("MQTT", 0x86, WRONG_LEVEL_V5),
        ("MQTT", 0xFF, WRONG_LEVEL_V5),
    ] {
        let packet = packet(&[&string(name)[..], &[level], b"\x02\x00\x3C\x00\x01c"].concat());
        let after = 2 + 2 + name.len() + 1;
        check_early(&packet, after, Malformed::ProtocolLevel { name, level }, None, answer);
    }
}

#[test]
fn connect_flags() {
    for (flags, reason, v5_answer) in [
        (0x01, Malformed::ReservedConnectFlag, MALFORMED_PACKET),
        (0x03, Malformed::ReservedConnectFlag, MALFORMED_PACKET),
        (0x1C, Malformed::WillQos, MALFORMED_PACKET),
        (0x3E, Malformed::WillQos, MALFORMED_PACKET),
        (0x08, Malformed::WillFlagsWithoutWill, PROTOCOL_ERROR),
        (0x10, Malformed::WillFlagsWithoutWill, PROTOCOL_ERROR),
        (0x18, Malformed::WillFlagsWithoutWill, PROTOCOL_ERROR),
        (0x20, Malformed::WillFlagsWithoutWill, PROTOCOL_ERROR),
    ] {
        // Refused at the flags themselves, 10 bytes in.
        let [(v4, ..), (v5, ..)] = both(flags, b"\x00\x01c\x00\x01t\x00\x01p");
        check_early(&v4, 10, reason, Some(Version::V311), SILENCE);
        check_early(&v5, 10, reason, Some(Version::V5), v5_answer);
    }
    let v31 = packet(b"\x00\x06MQIsdp\x03\x1C\x00\x3C\x00\x01c\x00\x01t\x00\x01p");
    check_early(&v31, 12, Malformed::WillQos, Some(Version::V31), SILENCE);
}

#[test]
fn a_password_without_a_username_in_3_x() {
    let reason = Malformed::PasswordWithoutUsername;
    let v4 = packet(b"\x00\x04MQTT\x04\x40\x00\x3C\x00\x01c\x00\x01p");
    check_early(&v4, 10, reason, Some(Version::V311), SILENCE);
    let v31 = packet(b"\x00\x06MQIsdp\x03\x40\x00\x3C\x00\x01c\x00\x01p");
    check_early(&v31, 12, reason, Some(Version::V31), SILENCE);
}

#[test]
fn strings_that_are_not_utf_8() {
    let bad: [(&[u8], bool); 8] = [
        (b"\x00\x01\xFF", false),
        (b"\x00\x01\xC3", false),
        (b"\x00\x02\xC0\x80", false),
        (b"\x00\x03\xED\xA0\x80", false),
        (b"\x00\x03\xED\xBF\xBF", false),
        (b"\x00\x04\xF4\x90\x80\x80", false),
        (b"\x00\x01\x00", true),
        (b"\x00\x03a\x00b", true),
    ];
    for (text, nul) in bad {
        let fault = |field| if nul { Malformed::Nul(field) } else { Malformed::Utf8(field) };
        for (packet, version, answer) in both(0x02, text) {
            check(&packet, fault("client ID"), Some(version), answer);
        }
        for (packet, version, answer) in both(0x80, &[b"\x00\x01c", text].concat()) {
            check(&packet, fault("username"), Some(version), answer);
        }
        let v4 = [b"\x00\x04MQTT\x04\x04\x00\x3C\x00\x01c", text, b"\x00\x00"].concat();
        check(&packet(&v4), fault("Will topic"), Some(Version::V311), SILENCE);
        let v5 = [b"\x00\x04MQTT\x05\x04\x00\x3C\x00\x00\x01c\x00", text, b"\x00\x00"].concat();
        check(&packet(&v5), fault("Will topic"), Some(Version::V5), MALFORMED_PACKET);
    }
}

/// Every packet cut short but with a remaining length that admits to it.
#[test]
fn fields_that_run_past_the_end() {
    let bodies: [(&[u8], Version, Answer); 3] = [
        (b"\x00\x06MQIsdp\x03\xC6\x00\x3C\x00\x01c\x00\x01t\x00\x01p", Version::V31, SILENCE),
        (
            b"\x00\x04MQTT\x04\xC6\x00\x3C\x00\x01c\x00\x01t\x00\x01p\x00\x01u\x00\x01p",
            Version::V311,
            SILENCE,
        ),
        (
            b"\x00\x04MQTT\x05\xC6\x00\x3C\x05\x11\x00\x00\x00\x01\x00\x01c\x02\x01\x00\x00\x01t\
              \x00\x01p\x00\x01u\x00\x01p",
            Version::V5,
            MALFORMED_PACKET,
        ),
    ];
    for (body, version, answer) in bodies {
        let stated = 2 + version.protocol_name().len() + 1;
        for end in 0..body.len() {
            let cut = packet(&body[..end]);
            let (version, answer) =
                if end < stated { (None, SILENCE) } else { (Some(version), answer) };
            check(&cut, Malformed::Truncated, version, answer);
        }
    }
    // 3.1 forgives a field that is left out, not one that is cut.
    let v31 = packet(b"\x00\x06MQIsdp\x03\xC0\x00\x3C\x00\x01c\x00\x02u");
    check(&v31, Malformed::Truncated, Some(Version::V31), SILENCE);
}

#[test]
fn bytes_after_the_last_field() {
    for (packet, version, answer) in both(0x02, b"\x00\x01c\x00") {
        check(&packet, Malformed::TrailingBytes(1), Some(version), answer);
    }
    // A username that no flag announces.
    for (packet, version, answer) in both(0x02, b"\x00\x01c\x00\x02me") {
        check(&packet, Malformed::TrailingBytes(4), Some(version), answer);
    }
    let v31 = packet(b"\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x01c\x00\x01");
    check(&v31, Malformed::TrailingBytes(2), Some(Version::V31), SILENCE);
}

/// Properties after a length of their own, of a CONNECT and of its Will.
fn blocks(block: &[u8]) -> [Vec<u8>; 2] {
    let connect = [b"\x00\x04MQTT\x05\x02\x00\x3C", block, b"\x00\x01c"].concat();
    let will = [b"\x00\x04MQTT\x05\x06\x00\x3C\x00\x00\x01c", block, b"\x00\x01t\x00\x01p"];
    [packet(&connect), packet(&will.concat())]
}

#[test]
fn property_blocks() {
    for (block, reason) in [
        (&b"\x80\x80\x80\x80\x01"[..], Malformed::Varint),
        (b"\x80\x00", Malformed::VarintNotMinimal),
        (b"\x80\x80\x80\x00", Malformed::VarintNotMinimal),
        (b"\x7F", Malformed::Truncated),
        (b"\xFF\xFF\xFF\x7F", Malformed::Truncated),
        // Identifiers: none such, none such in two bytes, one in a byte too many, one cut off.
        (b"\x02\x00\x00", Malformed::UnknownProperty(0)),
        (b"\x02\x2B\x00", Malformed::UnknownProperty(0x2B)),
        (b"\x02\x7F\x00", Malformed::UnknownProperty(0x7F)),
        (b"\x02\x91\x02", Malformed::UnknownProperty(0x111)),
        (b"\x03\xA6\x00\x00", Malformed::VarintNotMinimal),
        (b"\x01\xA6", Malformed::Truncated),
        // Strings of a User Property: cut by the block's end, not UTF-8, with U+0000.
        (b"\x01\x26", Malformed::Truncated),
        (b"\x06\x26\x00\x01k\x00\x01v", Malformed::Truncated),
        (b"\x06\x26\x00\x01\xFF\x00\x00", Malformed::Utf8("User Property")),
        (b"\x06\x26\x00\x00\x00\x01\x00", Malformed::Nul("User Property")),
    ] {
        for packet in blocks(block) {
            check(&packet, reason, Some(Version::V5), MALFORMED_PACKET);
        }
    }
}

#[test]
fn properties_of_other_packets() {
    let connack_only: [(&[u8], &str); 11] = [
        (b"\x12\x00\x00", "Assigned Client Identifier"),
        (b"\x13\x00\x00", "Server Keep Alive"),
        (b"\x1A\x00\x00", "Response Information"),
        (b"\x1C\x00\x00", "Server Reference"),
        (b"\x1F\x00\x00", "Reason String"),
        (b"\x24\x00", "Maximum QoS"),
        (b"\x25\x00", "Retain Available"),
        (b"\x28\x00", "Wildcard Subscription Available"),
        (b"\x29\x00", "Subscription Identifiers Available"),
        (b"\x2A\x00", "Shared Subscription Available"),
        (b"\x0B\x01", "Subscription Identifier"),
    ];
    let will_only: [(&[u8], &str); 6] = [
        (b"\x01\x00", "Payload Format Indicator"),
        (b"\x02\x00\x00\x00\x00", "Message Expiry Interval"),
        (b"\x03\x00\x00", "Content Type"),
        (b"\x08\x00\x00", "Response Topic"),
        (b"\x09\x00\x00", "Correlation Data"),
        (b"\x18\x00\x00\x00\x00", "Will Delay Interval"),
    ];
    let connect_only: [(&[u8], &str); 8] = [
        (b"\x11\x00\x00\x00\x00", "Session Expiry Interval"),
        (b"\x15\x00\x00", "Authentication Method"),
        (b"\x16\x00\x00", "Authentication Data"),
        (b"\x17\x00", "Request Problem Information"),
        (b"\x19\x00", "Request Response Information"),
        (b"\x21\x00\x01", "Receive Maximum"),
        (b"\x22\x00\x01", "Topic Alias Maximum"),
        (b"\x27\x00\x00\x00\x01", "Maximum Packet Size"),
    ];
    let topic_alias: (&[u8], &str) = (b"\x23\x00\x01", "Topic Alias");
    let refused = |index: usize, (property, name): (&[u8], &'static str)| {
        let block = [&[u8::try_from(property.len()).unwrap()], property].concat();
        let reason = Malformed::MisplacedProperty(name);
        check(&blocks(&block)[index], reason, Some(Version::V5), MALFORMED_PACKET);
    };
    for property in connack_only.into_iter().chain([topic_alias]) {
        refused(0, property);
        refused(1, property);
    }
    for property in will_only {
        refused(0, property);
    }
    for property in connect_only {
        refused(1, property);
    }
}

#[test]
fn properties_that_come_twice() {
    for (index, property, name) in [
        (0, &b"\x11\x00\x00\x00\x00"[..], "Session Expiry Interval"),
        (0, b"\x15\x00\x00", "Authentication Method"),
        (0, b"\x16\x00\x00", "Authentication Data"),
        (0, b"\x17\x00", "Request Problem Information"),
        (0, b"\x19\x00", "Request Response Information"),
        (0, b"\x21\x00\x01", "Receive Maximum"),
        (0, b"\x22\x00\x01", "Topic Alias Maximum"),
        (0, b"\x27\x00\x00\x00\x01", "Maximum Packet Size"),
        (1, b"\x01\x00", "Payload Format Indicator"),
        (1, b"\x02\x00\x00\x00\x00", "Message Expiry Interval"),
        (1, b"\x03\x00\x00", "Content Type"),
        (1, b"\x08\x00\x00", "Response Topic"),
        (1, b"\x09\x00\x00", "Correlation Data"),
        (1, b"\x18\x00\x00\x00\x00", "Will Delay Interval"),
    ] {
        // With a User Property, which may, in between.
        let twice = [property, b"\x26\x00\x00\x00\x00", property].concat();
        let block = [&[u8::try_from(twice.len()).unwrap()], &twice[..]].concat();
        let reason = Malformed::DuplicateProperty(name);
        check(&blocks(&block)[index], reason, Some(Version::V5), PROTOCOL_ERROR);
    }
}

#[test]
fn property_values() {
    for (index, block, name) in [
        (0, &b"\x03\x21\x00\x00"[..], "Receive Maximum"),
        (0, b"\x05\x27\x00\x00\x00\x00", "Maximum Packet Size"),
        (0, b"\x02\x17\x02", "Request Problem Information"),
        (0, b"\x02\x19\xFF", "Request Response Information"),
        (1, b"\x02\x01\x02", "Payload Format Indicator"),
    ] {
        let reason = Malformed::PropertyValue(name);
        check(&blocks(block)[index], reason, Some(Version::V5), PROTOCOL_ERROR);
    }
    let [no_method, _] = blocks(b"\x05\x16\x00\x02\x01\x02");
    let reason = Malformed::AuthenticationDataWithoutMethod;
    check(&no_method, reason, Some(Version::V5), PROTOCOL_ERROR);
}

/// What an operator reads in the log.
#[test]
fn messages() {
    let refusal = connect::parse(b"GET / HTTP/1.1\r\n", LIMIT, Strictness::Strict).unwrap_err();
    assert_eq!(refusal.to_string(), "the first packet is not a CONNECT (first byte 0x47)");
    let (refusal, _) = refuse(&packet(b"\x00\x04MQTT\x03\x02\x00\x3C\x00\x01c"));
    assert_eq!(refusal.to_string(), "unknown protocol level 0x03 of MQTT");
    let (refusal, _) = refuse(&packet(b"\x00\x04MQTT\x04\x02\x00\x3C\x00\x01\xFF"));
    assert_eq!(refusal.to_string(), "the client ID is not valid UTF-8");
    let refusal = connect::parse(b"\x10\xFF\xFF\xFF\x7F", LIMIT, Strictness::Strict).unwrap_err();
    assert_eq!(refusal.to_string(), "the packet of 268435460 bytes exceeds the limit of 65536");
}
