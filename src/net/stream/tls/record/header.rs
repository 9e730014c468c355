//! The header of a record.

use rustls::InvalidMessage;

/// The content type, the version and the length (RFC 8446, section 5.1).
pub(super) const HEADER_BYTES: usize = 5;

/// The most bytes after the header: 2^14 of plaintext and what TLS 1.2 lets a cipher add (RFC 5246,
/// section 6.2.3). rustls refuses this length itself, too.
const MAX_PAYLOAD_BYTES: usize = (1 << 14) + 2048;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) content_type: u8,
    pub(super) version: [u8; 2],
    pub(super) payload_bytes: usize,
}

impl Header {
    /// The header at the front of `wire`; `None` if it is incomplete. What has arrived of it is
    /// checked.
    pub(super) fn parse(wire: &[u8]) -> Result<Option<Self>, InvalidMessage> {
        match wire.first() {
            None => return Ok(None),
            Some(CHANGE_CIPHER_SPEC..=HEARTBEAT) => {}
            Some(_) => return Err(InvalidMessage::InvalidContentType),
        }
        if wire.len() >= 3 && wire[1] != 3 {
            return Err(InvalidMessage::UnknownProtocolVersion);
        }
        let [content_type, major, minor, high, low, ..] = *wire else { return Ok(None) };
        let payload_bytes = usize::from(u16::from_be_bytes([high, low]));
        match payload_bytes {
            0 if content_type != APPLICATION_DATA => Err(InvalidMessage::InvalidEmptyPayload),
            MAX_PAYLOAD_BYTES.. => Err(InvalidMessage::MessageTooLarge),
            _ => Ok(Some(Self { content_type, version: [major, minor], payload_bytes })),
        }
    }
}
