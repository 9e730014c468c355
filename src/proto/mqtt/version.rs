//! The versions of MQTT, and how a CONNECT states them.

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
