//! A CONNECT that does not conform, and the CONNACK that answers it.

use super::{
    malformed::Malformed,
    reason::ConnackPacket,
    version::{BRIDGE, Version},
};

/// A CONNECT that does not conform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidConnect {
    pub reason: Malformed,
    /// The client's version, if the packet states one that exists.
    pub version: Option<Version>,
}

impl InvalidConnect {
    /// The CONNACK to send before closing; `None` if the connection is closed without one.
    pub fn connack(&self) -> Option<ConnackPacket> {
        if let Malformed::ProtocolLevel { name, level } = self.reason {
            return Some(wrong_level(name, level));
        }
        match self.version? {
            // [MQTT-3.1.4-1] asks to "Close the Network Connection without sending a CONNACK" for
            // any CONNECT that does not conform, [MQTT-3.2.2-6] also if no code applies, as to a
            // length over the limit. 3.1 names no other answer.
            Version::V31 | Version::V311 => None,
            Version::V5 => Some(ConnackPacket::new(Version::V5, reason_code(self.reason))),
        }
    }
}

/// Answers an unsupported level in the form that the client most likely understands.
fn wrong_level(name: &str, level: u8) -> ConnackPacket {
    // Versions after 5.0 will build on it, so newer clients get its CONNACK (5.0 §3.1.2.2: "MAY
    // send a CONNACK packet with Reason Code 0x84"). All others get that of 3.1.1, which requires
    // it [MQTT-3.1.2-2] and has the same bytes in 3.1.
    if name == Version::V5.protocol_name() && level & !BRIDGE > Version::V5.level() {
        ConnackPacket::new(Version::V5, 0x84)
    } else {
        ConnackPacket::new(Version::V311, 0x01)
    }
}

/// The 5.0 reason code: 0x81 if a packet cannot be parsed, 0x82 if its content is not allowed
/// (5.0 §1.2 "Malformed Packet" and "Protocol Error", §4.13).
fn reason_code(reason: Malformed) -> u8 {
    match reason {
        // 5.0 §3.1.2.11 and §3.1.3.2 call each of these a Protocol Error, except for the Will flags
        // of [MQTT-3.1.2-11] and [MQTT-3.1.2-13], which can be parsed and are not allowed.
        Malformed::DuplicateProperty(_)
        | Malformed::PropertyValue(_)
        | Malformed::AuthenticationDataWithoutMethod
        | Malformed::WillFlagsWithoutWill => 0x82,
        Malformed::TooLarge { .. } => 0x95,
        _ => 0x81,
    }
}
