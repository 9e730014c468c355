//! Where one packet ends and the next begins, in a stream of which no more has to be known.

/// Follows a stream of packets from between two of them (3.1.1 §2.2, 5.0 §2.1).
#[derive(Clone, Copy, Debug)]
pub struct Boundary {
    /// Bytes of the packet's body still to come; while its length arrives, what is known of that.
    left: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Between,
    /// The next byte is this one of the remaining length, from 0.
    Length(u8),
    Body,
    /// Bytes went by unseen, or were no MQTT.
    Lost,
}

impl Boundary {
    pub const START: Self = Self { left: 0, place: Place::Between };

    /// Goes on over `bytes`.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.place {
                Place::Between => {
                    (self.left, self.place) = (0, Place::Length(0));
                    bytes = rest;
                }
                Place::Length(nth) => {
                    self.left |= u32::from(first & 0x7F) << (7 * nth);
                    self.place = match (first & 0x80 != 0, nth) {
                        (true, 3) => Place::Lost,
                        (true, _) => Place::Length(nth + 1),
                        (false, _) if self.left == 0 => Place::Between,
                        (false, _) => Place::Body,
                    };
                    bytes = rest;
                }
                Place::Body => {
                    let here = bytes.len().min(self.left as usize);
                    self.skip(here);
                    bytes = bytes.get(here..).unwrap_or_default();
                }
                Place::Lost => return,
            }
        }
    }

    /// Goes on over bytes that were not seen: inside one packet's body that is no loss.
    pub fn skip(&mut self, count: usize) {
        match u32::try_from(count).ok().and_then(|count| self.left.checked_sub(count)) {
            Some(left) if self.place == Place::Body => {
                self.left = left;
                if left == 0 {
                    self.place = Place::Between;
                }
            }
            _ if count == 0 => {}
            _ => self.place = Place::Lost,
        }
    }

    /// Whether another packet could be put in here.
    pub fn is_at_boundary(&self) -> bool {
        self.place == Place::Between
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PUBLISH whose body has so many bytes.
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
    fn between_packets_and_nowhere_else() {
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
    fn what_goes_by_unseen() {
        let mut boundary = Boundary::START;
        boundary.feed(&publish(1000)[..500]);
        boundary.skip(400);
        assert!(!boundary.is_at_boundary());
        boundary.skip(103);
        assert!(boundary.is_at_boundary());
        boundary.skip(0);
        assert!(boundary.is_at_boundary());
        // Into the next packet, whose header nobody saw.
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
    fn a_length_that_never_ends() {
        let mut boundary = Boundary::START;
        boundary.feed(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
        boundary.feed(&publish(0));
        assert!(!boundary.is_at_boundary());
    }
}
