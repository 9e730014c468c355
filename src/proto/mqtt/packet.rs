//! What every MQTT packet has: a protocol version, and a fixed header that tells its length.

use super::{malformed::Malformed, reader::Reader};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    V31,
    V311,
    V5,
}

impl Version {
    /// The protocol level that CONNECT states, without the bridge bit (3.1.1 §3.1.2.2, 5.0 §3.1.2.2).
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name that CONNECT states (3.1.1 §3.1.2.1, 5.0 §3.1.2.1).
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }
}

/// In no standard: bridges set it on top of the protocol level, so that brokers know them. Mosquitto
/// masks it out at every level.
pub(super) const BRIDGE: u8 = 0x80;

/// How far the bytes at hand go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// Nothing is wrong yet; `need` is how many bytes the buffer should hold, in all, before
    /// another call can finish. It is always more than the buffer held.
    Incomplete {
        need: usize,
    },
    Complete(T),
}

/// The length in bytes of the packet that starts `buf`, fixed header included; `None` while its
/// remaining length is still arriving.
///
/// # Errors
/// [`Malformed::RemainingLength`] where that length runs over four bytes (3.1.1 §2.2.3, 5.0 §1.5.5).
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
    /// How many bytes the header itself takes.
    pub(super) len: usize,
    /// How many bytes the packet takes, this header included.
    pub(super) packet_len: usize,
    /// Whether the remaining length is written in as few bytes as it can be.
    pub(super) minimal: bool,
}

impl FixedHeader {
    pub(super) fn read(buf: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(buf);
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
