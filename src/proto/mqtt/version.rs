//! The versions of MQTT, and how a CONNECT states them.

use serde::{Deserialize, Serialize};

use super::{malformed::Malformed, reader::PacketReader, strictness::Tolerance};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Version {
    V31,
    V311,
    V5,
}

impl Version {
    /// The protocol level that CONNECT states, without the bridge bit (3.1.1 §3.1.2.2, 5.0
    /// §3.1.2.2).
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

/// A bit that bridges set in the protocol level, so that brokers recognize them. No standard
/// defines it; Mosquitto masks it out at every level.
pub(super) const BRIDGE: u8 = 0x80;

/// The protocol name and level of a CONNECT.
#[derive(Clone, Copy)]
pub(super) struct ProtocolLevel {
    /// The version whose form the packet has; a guess if the level is unknown.
    pub(super) version: Version,
    pub(super) bridge: bool,
    /// Set if no version has this level.
    pub(super) unknown: Option<Malformed>,
}

impl ProtocolLevel {
    /// # Errors
    /// [`Malformed::Truncated`], or that the packet states another protocol or an unknown level.
    /// Of the two a lenient reader tolerates the level: it takes levels above 5.0's to have its
    /// form, as versions after 5.0 will build on it, and lower levels to have that of the 3.x
    /// version with the same protocol name.
    pub(super) fn read(
        reader: &mut PacketReader<'_>,
        tolerance: &mut Tolerance,
    ) -> Result<Self, Malformed> {
        let name = match reader.u16()? {
            4 => "MQTT",
            6 => "MQIsdp",
            _ => return Err(Malformed::ProtocolName),
        };
        reader.literal(name.as_bytes())?.ok_or(Malformed::ProtocolName)?;
        let level = reader.u8()?;
        let (version, is_known) = match (name, level & !BRIDGE) {
            ("MQIsdp", level) => (Version::V31, level == 3),
            (_, level @ ..5) => (Version::V311, level == 4),
            (_, level) => (Version::V5, level == 5),
        };
        let unknown = (!is_known).then_some(Malformed::ProtocolLevel { name, level });
        if let Some(fault) = unknown {
            tolerance.note(fault)?;
        }
        // At level 5 the bit is accepted, as Mosquitto does, but ignored: 5.0 has No Local and
        // Retain As Published for what bridges need.
        let bridge = level & BRIDGE != 0 && version != Version::V5;
        Ok(Self { version, bridge, unknown })
    }
}
