//! The DISCONNECT packet (3.1.1 §3.14, 5.0 §3.14).

use super::{
    malformed::Malformed,
    packet::{FixedHeader, Progress},
    version::Version,
};

/// How one side ended the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// 0, a normal end, if the packet has no code.
    /// [`reason::disconnect_name`](super::reason::disconnect_name) names the others.
    pub code: u8,
}

/// Type 14 with all flags reserved and 0 (3.1.1 §3.14.1, 5.0 §3.14.1).
const FIRST_BYTE: u8 = 0xE0;

/// Parses the DISCONNECT that `buf` starts with, in a session of `version`. Completes as soon as
/// the code has arrived: what follows it, such as properties, is neither awaited nor read.
///
/// # Errors
/// As soon as the bytes show that they are not the beginning of a DISCONNECT.
pub fn parse(buf: &[u8], version: Version) -> Result<Progress<Disconnect>, Malformed> {
    let header = match buf.first() {
        None => None,
        Some(&FIRST_BYTE) => FixedHeader::read(buf)?,
        Some(&byte) if byte >> 4 == FIRST_BYTE >> 4 => return Err(Malformed::HeaderFlags(byte)),
        Some(&byte) => return Err(Malformed::NotDisconnect(byte)),
    };
    let Some(header) = header else {
        return Ok(Progress::Incomplete { need: (buf.len() + 1).max(2) });
    };
    // "If the Remaining Length is less than 1 the value of 0x00 (Normal disconnection) is used"
    // (5.0 §3.14.2.1). 3.x has no code.
    if version != Version::V5 || header.packet_len == header.len {
        return Ok(Progress::Complete(Disconnect { code: 0 }));
    }
    Ok(match buf.get(header.len) {
        Some(&code) => Progress::Complete(Disconnect { code }),
        None => Progress::Incomplete { need: header.len + 1 },
    })
}
