//! What can be wrong with a packet.

/// Why a packet does not conform, explained for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the first packet is not a CONNECT (first byte {0:#04x})")]
    NotConnect(u8),
    #[error("the answer is not a CONNACK (first byte {0:#04x})")]
    NotConnack(u8),
    #[error("the fixed header's reserved flags are set (first byte {0:#04x})")]
    HeaderFlags(u8),
    #[error("the remaining length takes more than four bytes")]
    RemainingLength,
    #[error("the remaining length is not in its shortest form")]
    RemainingLengthNotMinimal,
    #[error("the packet of {len} bytes exceeds the limit of {limit}")]
    TooLarge { len: usize, limit: usize },
    #[error("the protocol name is neither MQTT nor MQIsdp")]
    ProtocolName,
    #[error("unknown protocol level {level:#04x} of {name}")]
    ProtocolLevel { name: &'static str, level: u8 },
    #[error("the reserved connect flag is set")]
    ReservedConnectFlag,
    #[error("the Will QoS is 3")]
    WillQos,
    #[error("Will QoS or Will Retain is set without a Will")]
    WillFlagsWithoutWill,
    #[error("a password without a username")]
    PasswordWithoutUsername,
    #[error("a field runs past the end of the packet or of its properties")]
    Truncated,
    #[error("{0} bytes follow the last field of the packet")]
    TrailingBytes(usize),
    #[error("the {0} is not valid UTF-8")]
    Utf8(&'static str),
    #[error("the {0} contains the character U+0000")]
    Nul(&'static str),
    #[error("a variable byte integer takes more than four bytes")]
    Varint,
    #[error("a variable byte integer is not in its shortest form")]
    VarintNotMinimal,
    #[error("unknown property {0:#04x}")]
    UnknownProperty(u32),
    #[error("the property {0} is not allowed in this packet")]
    MisplacedProperty(&'static str),
    #[error("the property {0} is duplicated")]
    DuplicateProperty(&'static str),
    #[error("the property {0} has an invalid value")]
    PropertyValue(&'static str),
    #[error("Authentication Data without an Authentication Method")]
    AuthenticationDataWithoutMethod,
    #[error("the CONNACK's reserved flags are set ({0:#04x})")]
    ConnackFlags(u8),
    #[error("a CONNACK of remaining length {0} has no room for a code")]
    ConnackLength(usize),
}
