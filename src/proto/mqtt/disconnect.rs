//! The DISCONNECT packet (3.1.1 §3.14, 5.0 §3.14).

use super::{boundary::PacketPart, version::Version};

/// Type 14 with all flags reserved and 0 (3.1.1 §3.14.1, 5.0 §3.14.1).
const FIRST_BYTE: u8 = 0xE0;

/// The reason code, if `part` begins the body of a DISCONNECT in a session of `version`; 0, a
/// normal end, if the packet has no code. [`reason::disconnect_name`](super::reason) names the
/// codes.
pub(crate) fn code(part: &PacketPart<'_>, version: Version) -> Option<u8> {
    // "If the Remaining Length is less than 1 the value of 0x00 (Normal disconnection) is used"
    // (5.0 §3.14.2.1). 3.x has no code.
    let code = part.bytes.first().copied().filter(|_| version == Version::V5);
    (part.first_byte == FIRST_BYTE && part.is_start).then(|| code.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mqtt::Boundary;

    /// The codes of the DISCONNECTs in `stream`, however it is cut.
    #[track_caller]
    fn codes(stream: &[u8], version: Version) -> Vec<u8> {
        let by = |step: usize| {
            let (mut boundary, mut seen) = (Boundary::START, Vec::new());
            for chunk in stream.chunks(step) {
                boundary.feed(chunk, |part| seen.extend(code(&part, version)));
            }
            seen
        };
        let whole = by(stream.len());
        for step in 1..stream.len() {
            assert_eq!(by(step), whole, "by {step}");
        }
        whole
    }

    #[test]
    fn codes_of_each_version() {
        let stream = [
            &[0xC0, 0][..],
            &[0xE0, 0],
            &[0xE0, 1, 4],
            // A body in a PUBLISH that looks like a DISCONNECT, and flags that are reserved.
            &[0x30, 5, 0, 1, b'a', 0xE0, 0],
            &[0xE1, 0],
            // 0x8E with a property length and a Reason String.
            &[0xE0, 7, 0x8E, 5, 0x1F, 0, 2, b'o', b'k'],
        ]
        .concat();
        assert_eq!(codes(&stream, Version::V5), [0, 4, 0x8E]);
        assert_eq!(codes(&stream, Version::V311), [0, 0, 0]);
        assert_eq!(codes(&stream, Version::V31), [0, 0, 0]);
    }
}
