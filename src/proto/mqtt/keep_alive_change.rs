//! The PUBLISH by which a client of EMQX changes its own keep alive while it is connected: to the
//! topic `$SETOPTS/mqtt/keepalive`, with the seconds as decimal text (EMQX 6.2, "Dynamic Keep
//! Alive").

use serde::{Deserialize, Serialize};

use super::{boundary::PacketPart, version::Version};

/// The topic and its two-byte length, at the start of the body (3.1.1 §3.3.2.1).
const TOPIC: &[u8] = b"\x00\x17$SETOPTS/mqtt/keepalive";

const PUBLISH: u8 = 3;

/// Finds such packets in a stream, without a copy of their bytes. A packet that names the topic by
/// an alias only (5.0 §3.3.2.3.4) is not found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeepAliveChange(Field);

/// The field that the next byte of the packet belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Field {
    /// The packet is another one.
    #[default]
    Other,
    /// How many of its bytes have arrived.
    Topic(u8),
    /// How many of its bytes are left.
    PacketId(u8),
    PropertiesLength,
    /// The second and last byte, and the lower seven bits, which the first one had: properties of
    /// more than 16,383 bytes are not expected.
    PropertiesLengthEnd(u8),
    /// How many bytes are left.
    Properties(u16),
    PayloadStart,
    /// The number so far.
    Payload(u16),
}

impl KeepAliveChange {
    /// Reads a part of a packet in a session of `version`. Returns the seconds at the end of a
    /// packet that changes the keep alive; more than 65,535 count as 65,535, as in EMQX.
    pub(crate) fn read(&mut self, part: PacketPart<'_>, version: Version) -> Option<u16> {
        if part.packet_type() != PUBLISH {
            return None;
        }
        if part.is_start {
            self.0 = Field::Topic(0);
        }
        let has_id = part.first_byte & 0b0110 != 0;
        for &byte in part.bytes {
            self.0 = match self.0 {
                Field::Other => return None,
                field => field.after(byte, has_id, version == Version::V5),
            };
        }
        match self.0 {
            Field::Payload(seconds) if part.is_end => Some(seconds),
            _ => None,
        }
    }

    /// Ignores the rest of the packet, as bytes of it were not seen.
    pub(crate) fn skip(&mut self) {
        self.0 = Field::Other;
    }
}

impl Field {
    /// The field after this byte. `has_id`: QoS 1 and 2 have a packet identifier (3.1.1 §3.3.2.2);
    /// `has_properties`: 5.0 has properties.
    fn after(self, byte: u8, has_id: bool, has_properties: bool) -> Self {
        let payload_or_properties =
            if has_properties { Self::PropertiesLength } else { Self::PayloadStart };
        match self {
            Self::Topic(nth) if TOPIC.get(usize::from(nth)) != Some(&byte) => Self::Other,
            Self::Topic(nth) if usize::from(nth) + 1 < TOPIC.len() => Self::Topic(nth + 1),
            Self::Topic(_) if has_id => Self::PacketId(2),
            Self::Topic(_) | Self::PacketId(..=1) => payload_or_properties,
            Self::PacketId(left) => Self::PacketId(left - 1),
            Self::PropertiesLength if byte & 0x80 != 0 => Self::PropertiesLengthEnd(byte & 0x7F),
            Self::PropertiesLengthEnd(_) if byte & 0x80 != 0 => Self::Other,
            Self::PropertiesLength => Self::properties(byte.into()),
            Self::PropertiesLengthEnd(low) => {
                Self::properties(u16::from(byte) << 7 | u16::from(low))
            }
            Self::Properties(left) => Self::properties(left.saturating_sub(1)),
            Self::PayloadStart if byte.is_ascii_digit() => Self::Payload((byte - b'0').into()),
            Self::Payload(number) if byte.is_ascii_digit() => {
                let digit = u16::from(byte - b'0');
                Self::Payload(number.saturating_mul(10).saturating_add(digit))
            }
            Self::PayloadStart | Self::Payload(_) | Self::Other => Self::Other,
        }
    }

    /// The properties, with this many bytes left, or what follows them.
    fn properties(left: u16) -> Self {
        if left == 0 { Self::PayloadStart } else { Self::Properties(left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mqtt::Boundary;

    fn publish(qos: u8, topic: &str, properties: Option<&[u8]>, payload: &[u8]) -> Vec<u8> {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        if qos > 0 {
            body.extend([b'1', b'2']);
        }
        if let Some(properties) = properties {
            match properties.len() {
                len @ 0..=0x7F => body.push(len as u8),
                len => body.extend([0x80 | (len & 0x7F) as u8, (len >> 7) as u8]),
            }
            body.extend(properties);
        }
        body.extend(payload);
        let mut packet = vec![0x30 | qos << 1];
        match body.len() {
            len @ 0..=0x7F => packet.push(len as u8),
            len => packet.extend([0x80 | (len & 0x7F) as u8, (len >> 7) as u8]),
        }
        packet.extend(body);
        packet
    }

    /// Every change in `stream`, however it is cut.
    #[track_caller]
    fn changes(stream: &[u8], version: Version) -> Vec<u16> {
        let by = |step: usize| {
            let (mut boundary, mut change) = (Boundary::START, KeepAliveChange::default());
            let mut seen = Vec::new();
            for chunk in stream.chunks(step) {
                boundary.feed(chunk, |part| seen.extend(change.read(part, version)));
            }
            seen
        };
        let whole = by(stream.len());
        for step in 1..stream.len() {
            assert_eq!(by(step), whole, "by {step}");
        }
        whole
    }

    const TOPIC: &str = "$SETOPTS/mqtt/keepalive";

    #[test]
    fn every_qos_and_version() {
        for qos in 0..=2 {
            let packet = publish(qos, TOPIC, None, b"300");
            assert_eq!(changes(&packet, Version::V311), [300], "QoS {qos}");
            assert_eq!(changes(&packet, Version::V31), [300], "QoS {qos}");
            for properties in [&b""[..], b"\x01\x01", &[0x26; 127], &[0x26; 128], &[0x26; 300]] {
                let packet = publish(qos, TOPIC, Some(properties), b"300");
                assert_eq!(changes(&packet, Version::V5), [300], "QoS {qos}");
            }
        }
    }

    #[test]
    fn numbers() {
        for (payload, seconds) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("65535", Some(65_535)),
            ("65536", Some(65_535)),
            ("99999999999999999999", Some(65_535)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("60 ", None),
            ("60\0", None),
            ("sixty", None),
        ] {
            let packet = publish(1, TOPIC, None, payload.as_bytes());
            let wanted: Vec<_> = seconds.into_iter().collect();
            assert_eq!(changes(&packet, Version::V311), wanted, "{payload:?}");
        }
    }

    #[test]
    fn other_packets() {
        let others = [
            publish(0, "$SETOPTS/mqtt/keepalive-bulk", None, b"300"),
            publish(0, "$SETOPTS/mqtt/keepaliv", None, b"300"),
            publish(0, "$SETOPTS/mqtt/keepalivf", None, b"300"),
            publish(0, "a", None, TOPIC.as_bytes()),
            vec![0x30, 0],
            vec![0x30, 1, 0],
            // A SUBSCRIBE, and a PUBLISH that ends within the topic.
            [&[0x82, 28, 0, 1][..], b"\x00\x17$SETOPTS/mqtt/keepalive\x00"].concat(),
            [&[0x30, 10][..], b"\x00\x17$SETOPTS"].concat(),
            // A length of properties of three bytes, and properties beyond the packet's end.
            publish(0, TOPIC, None, b"\x80\x80\x013"),
            publish(0, TOPIC, None, b"\x053"),
        ];
        for version in [Version::V311, Version::V5] {
            for other in &others {
                assert!(changes(other, version).is_empty(), "{other:x?}");
            }
            let properties = (version == Version::V5).then_some(&b""[..]);
            let last = publish(0, TOPIC, properties, b"12");
            assert_eq!(changes(&[others.concat(), last].concat(), version), [12]);
        }
    }
}
