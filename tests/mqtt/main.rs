//! The codec against hand-written packets, every split of them, and an independent encoder.

mod accepted;
mod assigned;
mod connack;
mod encoder;
mod lenient;
mod oracle;
mod reason;
mod refused;
mod rewrite;

use mqtt_lb::testing::proto::mqtt::{Connect, InvalidConnect, Progress, Strictness, connect};

/// The default of `limits.connect_packet`.
const LIMIT: usize = 64 * 1024;

/// A QoS 0 PUBLISH and a PINGREQ, as eager clients send behind their CONNECT.
const PIPELINED: &[u8] = b"\x30\x05\x00\x01thi\xC0\x00";

/// A packet of the first byte given, with the shortest remaining length.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let more = if left > 0x7F { 0x80 } else { 0 };
        packet.push((left & 0x7F) as u8 | more);
        left >>= 7;
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn connect(body: &[u8]) -> Vec<u8> {
    packet(0x10, body)
}

/// A string as MQTT writes it.
fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The CONNECT in `packet`, which every proper prefix of it must leave open, and which bytes behind
/// it must not change.
fn accept(packet: &[u8]) -> Connect {
    for end in 0..packet.len() {
        match connect::parse(&packet[..end], LIMIT, Strictness::Strict) {
            Ok(Progress::Incomplete { need }) => {
                assert!(end < need && need <= packet.len(), "{end} bytes need {need}");
            }
            other => panic!("{end} bytes of {}: {other:?}", packet.len()),
        }
    }
    let parsed = connect::parse(packet, LIMIT, Strictness::Strict);
    assert_eq!(connect::parse(&[packet, PIPELINED].concat(), LIMIT, Strictness::Strict), parsed);
    let Ok(Progress::Complete(connect)) = parsed else { panic!("{parsed:?}") };
    assert_eq!(connect.len, packet.len());
    connect
}

/// Why `packet` is refused, and after how many bytes; every longer prefix must say the same.
fn refuse(packet: &[u8]) -> (InvalidConnect, usize) {
    let first = (0..=packet.len())
        .find_map(|end| match connect::parse(&packet[..end], LIMIT, Strictness::Strict) {
            Ok(Progress::Incomplete { need }) => {
                assert!(end < need, "{end} bytes need {need}");
                None
            }
            Ok(Progress::Complete(connect)) => panic!("{connect:?}"),
            Err(refusal) => Some((refusal, end)),
        })
        .expect("a refusal");
    for end in first.1..=packet.len() {
        assert_eq!(
            connect::parse(&packet[..end], LIMIT, Strictness::Strict),
            Err(first.0),
            "after {end} bytes"
        );
    }
    assert_eq!(
        connect::parse(&[packet, PIPELINED].concat(), LIMIT, Strictness::Strict),
        Err(first.0)
    );
    first
}
