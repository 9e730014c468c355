//! Handshake messages, which may be split over records, and those that we send.

use rustls::InvalidMessage;
use zeroize::Zeroizing;

/// The type and the length (RFC 8446, section 4).
const HEADER_BYTES: usize = 4;

/// The longest message that rustls accepts.
const MAX_BODY_BYTES: usize = 0xFFFF;

pub(super) const KEY_UPDATE_TYPE: u8 = 24;

const UPDATE_NOT_REQUESTED: u8 = 0;
pub(super) const UPDATE_REQUESTED: u8 = 1;

/// A key update that asks for none in return (RFC 8446, section 4.6.3).
pub(super) const KEY_UPDATE: [u8; 5] = [KEY_UPDATE_TYPE, 0, 0, 1, UPDATE_NOT_REQUESTED];

/// A key update that asks for one in return.
pub(super) const KEY_UPDATE_REQUESTED: [u8; 5] = [KEY_UPDATE_TYPE, 0, 0, 1, UPDATE_REQUESTED];

/// The beginning of a handshake message. Ticket messages are secret.
#[derive(Default)]
pub(super) struct HandshakeFragment {
    bytes: Zeroizing<Vec<u8>>,
    /// The length of the records that it came in.
    wire_bytes: usize,
}

impl HandshakeFragment {
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>, wire_bytes: usize) -> Self {
        Self { bytes, wire_bytes }
    }

    pub(super) fn push(&mut self, payload: &[u8], wire_bytes: usize) {
        let needed = self.bytes.len() + payload.len();
        if needed > self.bytes.capacity() {
            // A vector that grows by itself would leave a copy behind.
            let mut grown = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            grown.extend_from_slice(&self.bytes);
            self.bytes = grown;
        }
        self.bytes.extend_from_slice(payload);
        self.wire_bytes += wire_bytes;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn wire_bytes(&self) -> usize {
        self.wire_bytes
    }
}

/// A complete handshake message.
pub(super) struct HandshakeMessage<'a> {
    pub(super) message_type: u8,
    pub(super) body: &'a [u8],
    /// What follows it.
    pub(super) rest: &'a [u8],
}

/// The message at the front of `bytes`; `None` if it is incomplete.
pub(super) fn first_message(bytes: &[u8]) -> Option<HandshakeMessage<'_>> {
    let (header, after) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (body, rest) = after.split_at_checked(body_bytes(*header))?;
    Some(HandshakeMessage { message_type: header[0], body, rest })
}

/// # Errors
/// One of the messages is too long, by its header.
pub(super) fn check_lengths(mut bytes: &[u8]) -> Result<(), InvalidMessage> {
    while let Some((header, after)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let body_bytes = body_bytes(*header);
        if body_bytes > MAX_BODY_BYTES {
            return Err(InvalidMessage::HandshakePayloadTooLarge);
        }
        bytes = after.get(body_bytes..).unwrap_or_default();
    }
    Ok(())
}

fn body_bytes([_, high, middle, low]: [u8; HEADER_BYTES]) -> usize {
    u32::from_be_bytes([0, high, middle, low]) as usize
}
