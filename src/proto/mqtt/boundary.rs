//! Finds the boundaries between packets in a stream, and shows the packets' bodies.

use serde::{Deserialize, Serialize};

/// Follows a stream of packets, starting between two of them (3.1.1 §2.2, 5.0 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boundary {
    /// Bytes of the packet's body that have not arrived; while its length arrives, the part known
    /// so far.
    left: u32,
    /// The packet's first byte: its type and flags.
    first_byte: u8,
    position: StreamPosition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum StreamPosition {
    Between,
    /// The next byte is this one of the remaining length.
    Length(LengthByte),
    /// The next byte is the first of the body.
    BodyStart,
    Body,
    /// Bytes were skipped outside a body, or were not MQTT.
    Lost,
}

/// The bytes of a remaining length, one to four (3.1.1 §2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum LengthByte {
    First,
    Second,
    Third,
    Fourth,
}

/// A part of a packet that arrived at once: the body, or a piece of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PacketPart<'a> {
    /// The packet's type and flags.
    pub(crate) first_byte: u8,
    /// The next bytes of the body; empty if the packet has no body.
    pub(crate) bytes: &'a [u8],
    /// Whether the body starts with these bytes.
    pub(crate) is_start: bool,
    /// Whether the body ends with these bytes.
    pub(crate) is_end: bool,
}

impl Boundary {
    pub(crate) const START: Self =
        Self { left: 0, first_byte: 0, position: StreamPosition::Between };

    /// Advances over `bytes`, and shows `see` each part of a packet among them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut see: impl FnMut(PacketPart<'_>)) {
        loop {
            match (self.position, bytes) {
                (_, []) | (StreamPosition::Lost, _) => return,
                // A packet with a short body that has arrived as a whole, as most do.
                (StreamPosition::Between, [first_byte, len @ 0..=0x7F, rest @ ..])
                    if rest.len() >= usize::from(*len) =>
                {
                    let (body, rest) = rest.split_at(usize::from(*len));
                    let first_byte = *first_byte;
                    see(PacketPart { first_byte, bytes: body, is_start: true, is_end: true });
                    bytes = rest;
                }
                (StreamPosition::Between, [first_byte, rest @ ..]) => {
                    (self.left, self.first_byte) = (0, *first_byte);
                    self.position = StreamPosition::Length(LengthByte::First);
                    bytes = rest;
                }
                (StreamPosition::Length(nth), [byte, rest @ ..]) => {
                    self.left |= u32::from(byte & 0x7F) << (7 * nth as u32);
                    self.position = match nth.next() {
                        _ if byte & 0x80 == 0 && self.left == 0 => StreamPosition::Between,
                        _ if byte & 0x80 == 0 => StreamPosition::BodyStart,
                        Some(next) => StreamPosition::Length(next),
                        None => StreamPosition::Lost,
                    };
                    if self.position == StreamPosition::Between {
                        let first_byte = self.first_byte;
                        see(PacketPart { first_byte, bytes: &[], is_start: true, is_end: true });
                    }
                    bytes = rest;
                }
                (StreamPosition::BodyStart | StreamPosition::Body, _) => {
                    let (body, rest) = bytes.split_at(bytes.len().min(self.left as usize));
                    let is_start = self.position == StreamPosition::BodyStart;
                    self.skip(body.len());
                    let is_end = self.position == StreamPosition::Between;
                    let first_byte = self.first_byte;
                    see(PacketPart { first_byte, bytes: body, is_start, is_end });
                    bytes = rest;
                }
            }
        }
    }

    /// Advances over bytes that were not seen, which is possible inside one packet's body.
    pub(crate) fn skip(&mut self, count: usize) {
        let is_in_body = matches!(self.position, StreamPosition::BodyStart | StreamPosition::Body);
        match u32::try_from(count).ok().and_then(|count| self.left.checked_sub(count)) {
            _ if count == 0 => {}
            Some(left) if is_in_body => {
                self.left = left;
                self.position =
                    if left == 0 { StreamPosition::Between } else { StreamPosition::Body };
            }
            _ => self.lose(),
        }
    }

    /// Stops following the stream.
    pub(crate) fn lose(&mut self) {
        self.position = StreamPosition::Lost;
    }

    /// Whether another packet could be inserted here.
    pub(crate) fn is_at_boundary(self) -> bool {
        self.position == StreamPosition::Between
    }

    /// How many of the next bytes are certain to belong to the packet under way; 0 between two
    /// packets, and if the position is unknown.
    pub(crate) fn certain_rest(self) -> usize {
        match self.position {
            StreamPosition::Between | StreamPosition::Lost => 0,
            // The length may end with the next byte.
            StreamPosition::Length(_) => 1,
            StreamPosition::BodyStart | StreamPosition::Body => self.left as usize,
        }
    }

    /// Whether [`Self::feed`] can have produced this state. Another, from outside of this process,
    /// would make it read no further.
    pub(crate) fn is_possible(self) -> bool {
        match self.position {
            StreamPosition::BodyStart | StreamPosition::Body => self.left > 0,
            StreamPosition::Between | StreamPosition::Length(_) | StreamPosition::Lost => true,
        }
    }

    /// Whether the position within the packets is unknown, from here to the end of the stream.
    pub(crate) fn is_lost(self) -> bool {
        self.position == StreamPosition::Lost
    }
}

impl LengthByte {
    fn next(self) -> Option<Self> {
        match self {
            Self::First => Some(Self::Second),
            Self::Second => Some(Self::Third),
            Self::Third => Some(Self::Fourth),
            Self::Fourth => None,
        }
    }
}

impl PacketPart<'_> {
    /// The type in the packet's first byte (3.1.1 §2.2.1).
    pub(crate) fn packet_type(&self) -> u8 {
        self.first_byte >> 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PUBLISH with a body of `len` bytes.
    fn publish(len: usize) -> Vec<u8> {
        let mut packet = vec![0x30];
        let mut left = len;
        loop {
            let byte = (left % 128) as u8;
            left /= 128;
            packet.push(if left > 0 { byte | 0x80 } else { byte });
            if left == 0 {
                break;
            }
        }
        packet.resize(packet.len() + len, 0x80);
        packet
    }

    #[test]
    fn boundary_between_packets_only() {
        let packets = [publish(0), publish(1), publish(127), publish(128), publish(20_000)];
        let stream = packets.concat();
        let mut ends = vec![0];
        for packet in &packets {
            ends.push(ends.last().unwrap() + packet.len());
        }
        for step in [1, 2, 3, 7, 64, 5000] {
            let mut boundary = Boundary::START;
            let mut at = 0;
            for chunk in stream.chunks(step) {
                boundary.feed(chunk, |_| {});
                at += chunk.len();
                assert_eq!(boundary.is_at_boundary(), ends.contains(&at), "at {at} by {step}");
            }
        }
    }

    /// A reader that takes only what is certain stops at the end of the packet.
    #[test]
    fn the_certain_rest_ends_with_the_packet() {
        for len in [0, 1, 127, 128, 20_000] {
            let packet = publish(len);
            let stream = [&packet[..], &publish(3)].concat();
            for start in 1..packet.len().min(9) {
                let mut boundary = Boundary::START;
                boundary.feed(&stream[..start], |_| {});
                let mut at = start;
                while boundary.certain_rest() > 0 {
                    let rest = boundary.certain_rest();
                    boundary.feed(&stream[at..at + rest], |_| {});
                    at += rest;
                }
                assert_eq!(at, packet.len(), "{len} bytes from {start}");
                assert!(boundary.is_at_boundary());
            }
        }
        let mut lost = Boundary::START;
        lost.lose();
        assert_eq!((lost.certain_rest(), Boundary::START.certain_rest()), (0, 0));
    }

    #[test]
    fn skipped_bytes() {
        let mut boundary = Boundary::START;
        boundary.feed(&publish(1000)[..500], |_| {});
        boundary.skip(400);
        assert!(!boundary.is_at_boundary());
        boundary.skip(103);
        assert!(boundary.is_at_boundary());
        boundary.skip(0);
        assert!(boundary.is_at_boundary());
        // Skips into the next packet, whose header was not seen.
        boundary.skip(1);
        boundary.feed(&publish(0), |_| {});
        assert!(!boundary.is_at_boundary());
        let mut boundary = Boundary::START;
        boundary.feed(&publish(10)[..5], |_| {});
        boundary.skip(8);
        boundary.feed(&publish(0), |_| {});
        assert!(!boundary.is_at_boundary());
    }

    #[test]
    fn endless_remaining_length() {
        let mut boundary = Boundary::START;
        boundary.feed(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], |_| {});
        boundary.feed(&publish(0), |_| {});
        assert!(!boundary.is_at_boundary());
    }

    /// Each session has two.
    #[test]
    fn a_boundary_is_small() {
        assert_eq!(size_of::<Option<Boundary>>(), 8);
    }

    #[test]
    fn parts_of_packets() {
        let packets = [publish(0), vec![0xE0, 0], publish(3), publish(200), vec![0xE0, 1, 4]];
        let stream = packets.concat();
        let header = |packet: &[u8]| if packet[1] & 0x80 == 0 { 2 } else { 3 };
        for step in [1, 2, 3, 7, 64, 5000] {
            let mut boundary = Boundary::START;
            let mut seen: Vec<(u8, Vec<u8>, bool)> = Vec::new();
            for chunk in stream.chunks(step) {
                boundary.feed(chunk, |part| {
                    if part.is_start {
                        seen.push((part.first_byte, Vec::new(), false));
                    }
                    let (first_byte, body, ended) = seen.last_mut().unwrap();
                    assert_eq!((*first_byte, *ended), (part.first_byte, false), "by {step}");
                    body.extend(part.bytes);
                    *ended = part.is_end;
                });
            }
            let wanted = packets.iter().map(|one| (one[0], one[header(one)..].to_vec(), true));
            assert_eq!(seen, wanted.collect::<Vec<_>>(), "by {step}");
        }
    }
}
