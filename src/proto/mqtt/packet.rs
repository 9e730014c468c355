//! The fixed header of an MQTT packet, which contains its length.

use super::{malformed::Malformed, reader::PacketReader};

/// The result of parsing the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// No error so far. `need`: how many bytes the buffer must hold in total before another call
    /// can finish; always more than it held.
    Incomplete {
        need: usize,
    },
    Complete(T),
}

/// The length in bytes of the packet that starts `buf`, fixed header included; `None` while its
/// remaining length is still arriving.
///
/// # Errors
/// [`Malformed::RemainingLength`] if that length takes more than four bytes (3.1.1 §2.2.3, 5.0
/// §1.5.5).
pub fn packet_len(buf: &[u8]) -> Result<Option<usize>, Malformed> {
    Ok(FixedHeader::read(buf)?.map(|header| header.packet_len))
}

/// Whether `buf` starts with an AUTH packet, which a 5.0 broker may send any number of before its
/// CONNACK (5.0 §3.15, §4.12).
pub fn first_packet_is_auth(buf: &[u8]) -> bool {
    // Type 15 with all flags reserved and 0 (5.0 §2.1.2, §2.1.3).
    buf.first() == Some(&0xF0)
}

/// The first two to five bytes of a packet.
#[derive(Clone, Copy)]
pub(super) struct FixedHeader {
    /// Bytes of the header itself.
    pub(super) len: usize,
    /// Bytes of the packet, header included.
    pub(super) packet_len: usize,
    /// Whether the remaining length is in its shortest form.
    pub(super) minimal: bool,
}

impl FixedHeader {
    pub(super) fn read(buf: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = PacketReader::new(buf);
        match reader.u8().and_then(|_| reader.varint()) {
            Ok(remaining) => Ok(Some(Self {
                len: reader.position(),
                packet_len: reader.position() + remaining.value as usize,
                minimal: remaining.minimal,
            })),
            Err(Malformed::Truncated) => Ok(None),
            Err(_) => Err(Malformed::RemainingLength),
        }
    }
}
