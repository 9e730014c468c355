//! CONNACK packets, as brokers send them.

use mqtt_lb::testing::proto::mqtt::{
    Connack, Malformed, Progress, Version, connack, first_packet_is_auth,
};

use crate::{LIMIT, PIPELINED, packet};

fn pass_on(packet: &[u8], version: Version) -> Connack {
    for end in 0..packet.len() {
        match connack::parse(&packet[..end], version, LIMIT) {
            Ok(Progress::Incomplete { need }) => {
                assert!(end < need && need <= packet.len(), "{end} bytes need {need}");
            }
            other => panic!("{end} bytes of {}: {other:?}", packet.len()),
        }
    }
    let parsed = connack::parse(packet, version, LIMIT);
    assert_eq!(connack::parse(&[packet, PIPELINED].concat(), version, LIMIT), parsed);
    let Ok(Progress::Complete(connack)) = parsed else { panic!("{parsed:?}") };
    assert_eq!(connack.len, packet.len());
    connack
}

/// One that keeps to the standard.
fn accept(packet: &[u8], version: Version) -> Connack {
    let connack = pass_on(packet, version);
    assert_eq!(connack.malformed, None);
    connack
}

/// Why it is refused, and after how many bytes.
fn refuse(packet: &[u8], version: Version) -> (Malformed, usize) {
    let parse = |end| connack::parse(&packet[..end], version, LIMIT);
    let after = (0..=packet.len()).find(|&end| parse(end).is_err()).expect("a refusal");
    let fault = parse(after).unwrap_err();
    for end in after..=packet.len() {
        assert_eq!(parse(end), Err(fault));
    }
    (fault, after)
}

#[test]
fn of_3_x() {
    for version in [Version::V31, Version::V311] {
        for code in 0..=5 {
            let connack = accept(&[0x20, 2, 0, code], version);
            assert_eq!((connack.code, connack.session_present), (code, false));
        }
    }
    assert!(accept(b"\x20\x02\x01\x00", Version::V311).session_present);
    // 3.1 reserves that byte whole.
    assert!(!accept(b"\x20\x02\x01\x00", Version::V31).session_present);
    assert!(!accept(b"\x20\x02\xFF\x00", Version::V31).session_present);
}

#[test]
fn of_5_0() {
    let connack = accept(b"\x20\x03\x01\x00\x00", Version::V5);
    assert_eq!((connack.code, connack.session_present), (0, true));
    assert_eq!(connack.assigned_client_id, None);

    let properties: [&[u8]; 18] = [
        b"\x11\x00\x00\x00\x0A",
        b"\x21\x00\x14",
        b"\x24\x01",
        b"\x25\x01",
        b"\x27\x00\x10\x00\x00",
        b"\x12\x00\x04auto",
        b"\x22\x00\x0A",
        b"\x1F\x00\x04why?",
        b"\x26\x00\x01k\x00\x01v",
        b"\x26\x00\x01k\x00\x01v",
        b"\x28\x01",
        b"\x29\x01",
        b"\x2A\x00",
        b"\x13\x00\x1E",
        b"\x1A\x00\x04resp",
        b"\x1C\x00\x07other:1",
        b"\x15\x00\x01m",
        b"\x16\x00\x01\xFF",
    ];
    let mut reversed = properties;
    reversed.reverse();
    for order in [properties, reversed] {
        let block = order.concat();
        let len = [u8::try_from(block.len()).unwrap()];
        let packet = packet(0x20, &[b"\x00\x9C", &len[..], &block].concat());
        let connack = accept(&packet, Version::V5);
        assert_eq!((connack.code, connack.session_present), (0x9C, false));
        assert_eq!(connack.server_keep_alive, Some(30));
        let text =
            |span: Option<mqtt_lb::testing::proto::mqtt::Span>| span.map(|span| span.of(&packet));
        assert_eq!(text(connack.assigned_client_id), Some("auto"));
        assert_eq!(text(connack.reason_string), Some("why?"));
        assert_eq!(text(connack.server_reference), Some("other:1"));
    }
}

/// A broker that knows only 3.1.1 turns a 5.0 client away in its own form.
#[test]
fn of_3_1_1_to_a_5_0_client() {
    assert_eq!(accept(b"\x20\x02\x00\x01", Version::V5).code, 1);
}

/// What has a length and a code is for the client to judge.
#[test]
fn malformed() {
    let (v3, v4, v5) = (Version::V31, Version::V311, Version::V5);
    let cases: [(&[u8], Version, Malformed); 18] = [
        (b"\x21\x02\x00\x00", v4, Malformed::HeaderFlags(0x21)),
        (b"\x2F\x03\x00\x00\x00", v5, Malformed::HeaderFlags(0x2F)),
        (b"\x20\x82\x00\x00\x00", v3, Malformed::RemainingLengthNotMinimal),
        (b"\x20\x03\x00\x00\x00", v4, Malformed::TrailingBytes(1)),
        (b"\x20\x04\x01\x00ab", v3, Malformed::TrailingBytes(2)),
        (b"\x20\x02\x02\x00", v4, Malformed::ConnackFlags(2)),
        (b"\x20\x03\x80\x00\x00", v5, Malformed::ConnackFlags(0x80)),
        (b"\x20\x03\x00\x00\x01", v5, Malformed::Truncated),
        (b"\x20\x04\x00\x00\x00\x00", v5, Malformed::TrailingBytes(1)),
        (b"\x20\x05\x00\x00\x02\x25\x03", v5, Malformed::PropertyValue("Retain Available")),
        (b"\x20\x05\x00\x00\x02\x7E\x01", v5, Malformed::UnknownProperty(0x7E)),
        (b"\x20\x06\x00\x00\x03\x80\x01\x00", v5, Malformed::UnknownProperty(0x80)),
        (b"\x20\x06\x00\x00\x03\xA1\x00\x00", v5, Malformed::VarintNotMinimal),
        (
            b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x00",
            v5,
            Malformed::PropertyValue("Maximum Packet Size"),
        ),
        (
            b"\x20\x09\x00\x00\x06\x13\x00\x01\x13\x00\x02",
            v5,
            Malformed::DuplicateProperty("Server Keep Alive"),
        ),
        (b"\x20\x07\x00\x00\x04\x1F\x00\x01\xFE", v5, Malformed::Utf8("Reason String")),
        (b"\x20\x07\x00\x00\x04\x1A\x00\x01\x00", v5, Malformed::Nul("Response Information")),
        (
            b"\x20\x08\x00\x00\x05\x18\x00\x00\x00\x00",
            v5,
            Malformed::MisplacedProperty("Will Delay Interval"),
        ),
    ];
    for (packet, version, fault) in cases {
        let connack = pass_on(packet, version);
        assert_eq!((connack.code, connack.malformed), (0, Some(fault)), "{packet:02X?}");
    }
    // What stands in front of the fault counts.
    let packet = b"\x20\x0D\x01\x87\x0A\x13\x00\x07\x12\x00\x01x\x7F\x01\x02";
    let connack = pass_on(packet, v5);
    assert_eq!(connack.malformed, Some(Malformed::UnknownProperty(0x7F)));
    assert_eq!((connack.code, connack.session_present), (0x87, true));
    assert_eq!(connack.server_keep_alive, Some(7));
    assert_eq!(connack.assigned_client_id.map(|id| id.of(packet)), Some("x"));
}

#[test]
fn refused() {
    let (v4, v5) = (Version::V311, Version::V5);
    assert_eq!(refuse(b"HTTP/1.1 400 Bad Request", v4), (Malformed::NotConnack(b'H'), 1));
    assert_eq!(refuse(b"\x30\x02\x00\x00", v4), (Malformed::NotConnack(0x30), 1));
    assert_eq!(refuse(b"\xF0\x02\x18\x00", v5), (Malformed::NotConnack(0xF0), 1));
    assert_eq!(refuse(b"\x20\x80\x80\x80\x80\x00", v5), (Malformed::RemainingLength, 5));
    for version in [v4, v5] {
        assert_eq!(refuse(b"\x20\x00", version), (Malformed::ConnackLength(0), 2));
        assert_eq!(refuse(b"\x20\x01\x00", version), (Malformed::ConnackLength(1), 2));
        let len = 268_435_460;
        let fault = Malformed::TooLarge { len, limit: LIMIT };
        assert_eq!(refuse(b"\x20\xFF\xFF\xFF\x7F", version), (fault, 5));
    }
    // Either side of the limit, which is of the whole packet.
    let of = |len: usize| [&[0x20][..], &[(len - 3) as u8 | 0x80, ((len - 3) >> 7) as u8]].concat();
    let parse = |len| connack::parse(&of(len), v5, 4096);
    assert_eq!(parse(4096), Ok(Progress::Incomplete { need: 4096 }));
    assert_eq!(parse(4097), Err(Malformed::TooLarge { len: 4097, limit: 4096 }));
}

#[test]
fn auth_before_connack() {
    // 5.0 §3.15: Continue authentication, with a method.
    assert!(first_packet_is_auth(b"\xF0\x07\x18\x05\x15\x00\x02me"));
    assert!(first_packet_is_auth(b"\xF0"));
    assert!(!first_packet_is_auth(b""));
    assert!(!first_packet_is_auth(b"\xF1\x00"));
    assert!(!first_packet_is_auth(b"\x20\x03\x00\x00\x00"));
}
