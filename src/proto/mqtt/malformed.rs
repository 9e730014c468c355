//! What can be wrong with a packet, and what its sender is told about it.

use super::{
    packet::{BRIDGE, Version},
    reason::ConnackPacket,
};

/// Why a packet is refused, in words for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the first packet is no CONNECT (first byte {0:#04x})")]
    NotConnect(u8),
    #[error("the answer is not a CONNACK (first byte {0:#04x})")]
    NotConnack(u8),
    #[error("the fixed header's reserved flags are set (first byte {0:#04x})")]
    HeaderFlags(u8),
    #[error("the remaining length runs over four bytes")]
    RemainingLength,
    #[error("the remaining length takes more bytes than it needs")]
    RemainingLengthNotMinimal,
    #[error("the packet of {len} bytes is over the limit of {limit}")]
    TooLarge { len: usize, limit: usize },
    #[error("the protocol name is neither MQTT nor MQIsdp")]
    ProtocolName,
    #[error("{name} has no protocol level {level:#04x}")]
    ProtocolLevel { name: &'static str, level: u8 },
    #[error("the reserved connect flag is set")]
    ReservedConnectFlag,
    #[error("the Will QoS is 3")]
    WillQos,
    #[error("Will QoS or Will Retain is set, but there is no Will")]
    WillFlagsWithoutWill,
    #[error("there is a password, but no username")]
    PasswordWithoutUsername,
    #[error("a field runs past the end of the packet or of its properties")]
    Truncated,
    #[error("{0} bytes follow the last field of the packet")]
    TrailingBytes(usize),
    #[error("the {0} is not valid UTF-8")]
    Utf8(&'static str),
    #[error("the {0} contains the character U+0000")]
    Nul(&'static str),
    #[error("a variable byte integer runs over four bytes")]
    Varint,
    #[error("a variable byte integer takes more bytes than it needs")]
    VarintNotMinimal,
    #[error("there is no property {0:#04x}")]
    UnknownProperty(u32),
    #[error("the property {0} does not belong here")]
    MisplacedProperty(&'static str),
    #[error("the property {0} is there twice")]
    DuplicateProperty(&'static str),
    #[error("the property {0} has a value that is not allowed")]
    PropertyValue(&'static str),
    #[error("there is Authentication Data, but no Authentication Method")]
    AuthenticationDataWithoutMethod,
    #[error("the CONNACK's reserved flags are set ({0:#04x})")]
    ConnackFlags(u8),
    #[error("a CONNACK of remaining length {0} has no room for a code")]
    ConnackLength(usize),
}

/// A CONNECT that goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidConnect {
    pub reason: Malformed,
    /// The client's version, where the packet got so far as to state one that exists.
    pub version: Option<Version>,
}

impl InvalidConnect {
    /// The CONNACK to send before closing; `None` where the connection is closed without one.
    pub fn connack(&self) -> Option<ConnackPacket> {
        if let Malformed::ProtocolLevel { name, level } = self.reason {
            return Some(wrong_level(name, level));
        }
        match self.version? {
            // "Close the Network Connection without sending a CONNACK" is what [MQTT-3.1.4-1] asks
            // for any CONNECT that does not conform, and [MQTT-3.2.2-6] where no code applies, as
            // to a length over the limit. 3.1 names no other answer.
            Version::V31 | Version::V311 => None,
            Version::V5 => Some(ConnackPacket::new(Version::V5, reason_code(self.reason))),
        }
    }
}

/// A level this proxy does not speak is answered in the form its sender most likely reads.
fn wrong_level(name: &str, level: u8) -> ConnackPacket {
    // After 5.0 comes what grew from 5.0, so newer clients get its CONNACK (5.0 §3.1.2.2: "MAY send a
    // CONNACK packet with Reason Code 0x84"). All others get 3.x's, which 3.1.1 demands
    // [MQTT-3.1.2-2] and whose bytes 3.1 shares.
    if name == Version::V5.protocol_name() && level & !BRIDGE > Version::V5.level() {
        ConnackPacket::new(Version::V5, 0x84)
    } else {
        ConnackPacket::new(Version::V311, 0x01)
    }
}

/// The 5.0 reason code: 0x81 where a packet can't be read, 0x82 where what it says is not allowed
/// (5.0 §1.2 "Malformed Packet" and "Protocol Error", §4.13).
fn reason_code(reason: Malformed) -> u8 {
    match reason {
        // 5.0 §3.1.2.11 and §3.1.3.2 call each of these a Protocol Error, but for the Will flags of
        // [MQTT-3.1.2-11] and [MQTT-3.1.2-13], which can be read and are not allowed.
        Malformed::DuplicateProperty(_)
        | Malformed::PropertyValue(_)
        | Malformed::AuthenticationDataWithoutMethod
        | Malformed::WillFlagsWithoutWill => 0x82,
        Malformed::TooLarge { .. } => 0x95,
        _ => 0x81,
    }
}
