//! Writes the fields of packets.

use super::malformed::Malformed;

/// A variable byte integer (5.0 §1.5.5) in its shortest form.
#[derive(Clone, Copy)]
pub(super) struct EncodedVarint {
    bytes: [u8; 4],
    len: usize,
}

impl EncodedVarint {
    /// # Errors
    /// [`Malformed::Varint`] if `value` exceeds 268,435,455, which is the most bytes that a packet can have
    /// after its fixed header.
    pub(super) fn new(value: usize) -> Result<Self, Malformed> {
        let (mut bytes, mut len, mut left) = ([0; 4], 0, value);
        for byte in &mut bytes {
            *byte = (left & 0x7F) as u8;
            left >>= 7;
            len += 1;
            if left == 0 {
                return Ok(Self { bytes, len });
            }
            *byte |= 0x80;
        }
        Err(Malformed::Varint)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Appends a string or Binary Data, of at most 65,535 bytes, behind its length.
pub(super) fn put_field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}
