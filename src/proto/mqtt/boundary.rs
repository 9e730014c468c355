//! Finds the boundaries between packets in a stream.

/// Follows a stream of packets, starting between two of them (3.1.1 §2.2, 5.0 §2.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boundary {
    /// Bytes of the packet's body that have not arrived; while its length arrives, the part known
    /// so far.
    left: u32,
    position: StreamPosition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamPosition {
    Between,
    /// The next byte is byte number `0`, `1`, … of the remaining length.
    Length(u8),
    Body,
    /// Bytes were skipped outside a body, or were not MQTT.
    Lost,
}

impl Boundary {
    pub(crate) const START: Self = Self { left: 0, position: StreamPosition::Between };

    /// Advances over `bytes`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.position {
                StreamPosition::Between => {
                    (self.left, self.position) = (0, StreamPosition::Length(0));
                    bytes = rest;
                }
                StreamPosition::Length(nth) => {
                    self.left |= u32::from(first & 0x7F) << (7 * nth);
                    self.position = match (first & 0x80 != 0, nth) {
                        (true, 3) => StreamPosition::Lost,
                        (true, _) => StreamPosition::Length(nth + 1),
                        (false, _) if self.left == 0 => StreamPosition::Between,
                        (false, _) => StreamPosition::Body,
                    };
                    bytes = rest;
                }
                StreamPosition::Body => {
                    let here = bytes.len().min(self.left as usize);
                    self.skip(here);
                    bytes = bytes.get(here..).unwrap_or_default();
                }
                StreamPosition::Lost => return,
            }
        }
    }

    /// Advances over bytes that were not seen, which is possible inside one packet's body.
    pub(crate) fn skip(&mut self, count: usize) {
        match u32::try_from(count).ok().and_then(|count| self.left.checked_sub(count)) {
            Some(left) if self.position == StreamPosition::Body => {
                self.left = left;
                if left == 0 {
                    self.position = StreamPosition::Between;
                }
            }
            _ if count == 0 => {}
            _ => self.position = StreamPosition::Lost,
        }
    }

    /// Whether another packet could be inserted here.
    pub(crate) fn is_at_boundary(self) -> bool {
        self.position == StreamPosition::Between
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
                boundary.feed(chunk);
                at += chunk.len();
                assert_eq!(boundary.is_at_boundary(), ends.contains(&at), "at {at} by {step}");
            }
        }
    }

    #[test]
    fn skipped_bytes() {
        let mut boundary = Boundary::START;
        boundary.feed(&publish(1000)[..500]);
        boundary.skip(400);
        assert!(!boundary.is_at_boundary());
        boundary.skip(103);
        assert!(boundary.is_at_boundary());
        boundary.skip(0);
        assert!(boundary.is_at_boundary());
        // Skips into the next packet, whose header was not seen.
        boundary.skip(1);
        boundary.feed(&publish(0));
        assert!(!boundary.is_at_boundary());
        let mut boundary = Boundary::START;
        boundary.feed(&publish(10)[..5]);
        boundary.skip(8);
        boundary.feed(&publish(0));
        assert!(!boundary.is_at_boundary());
    }

    #[test]
    fn endless_remaining_length() {
        let mut boundary = Boundary::START;
        boundary.feed(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
        boundary.feed(&publish(0));
        assert!(!boundary.is_at_boundary());
    }
}
