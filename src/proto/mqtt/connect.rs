//! The CONNECT packet (3.1.1 §3.1, 5.0 §3.1).

use super::{
    invalid_connect::InvalidConnect,
    malformed::Malformed,
    packet::{FixedHeader, Progress},
    properties::{
        AUTHENTICATION_DATA, AUTHENTICATION_METHOD, CONNECT, Properties, PropertyValue,
        SESSION_EXPIRY_INTERVAL, WILL,
    },
    reader::{PacketReader, Span},
    version::{BRIDGE, Version},
};

/// A complete, well-formed CONNECT: its fields, and where its strings are in its bytes.
///
/// A client ID may be empty in any version, and a Will topic may be invalid: the standards require
/// brokers to answer those with specific codes, so they are not refused here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The packet's length in bytes, fixed header included; what the client sent next starts there.
    pub len: usize,
    pub version: Version,
    /// Whether the client declares itself a bridge, as Mosquitto bridges do, by adding 0x80 to the
    /// level of 3.1 or 3.1.1.
    pub bridge: bool,
    /// Clean Start, which before 5.0 is Clean Session.
    pub clean_start: bool,
    /// Whether the client asks for enhanced authentication, so that AUTH packets may come before
    /// the CONNACK (5.0 §4.12).
    pub auth_method: bool,
    pub has_password: bool,
    /// Seconds; 0 turns the keep alive off.
    pub keep_alive: u16,
    pub client_id: Span,
    pub username: Option<Span>,
    pub will: Option<Will>,
    /// Session Expiry Interval in seconds, if present (5.0 §3.1.2.11.2).
    pub session_expiry: Option<u32>,
}

/// The message that a broker publishes when the client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will {
    pub qos: Qos,
    pub retain: bool,
    pub topic: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

/// Type 1 with all flags reserved and 0 (3.1.1 §3.1.1, 5.0 §3.1.1).
const FIRST_BYTE: u8 = 0x10;

/// Parses the CONNECT that `buf` starts with; bytes after it are ignored.
///
/// An incomplete packet is read only up to its connect flags, so that a client which sends it byte
/// by byte costs a few comparisons per byte. Fails instead of waiting for a packet longer than
/// `limit` bytes.
///
/// # Errors
/// As soon as the bytes show that they are not the beginning of a conforming CONNECT.
pub fn parse(buf: &[u8], limit: usize) -> Result<Progress<Connect>, InvalidConnect> {
    let refuse = |version| move |reason| InvalidConnect { reason, version };
    let Some(header) = fixed_header(buf).map_err(refuse(None))? else {
        // A packet has at least two bytes (3.1.1 §2.2).
        return Ok(Progress::Incomplete { need: (buf.len() + 1).max(2) });
    };
    let len = header.packet_len;
    let mut reader = PacketReader::new(buf.get(..len).unwrap_or(buf));
    // Cannot fail: the header was read from these bytes.
    let _ = reader.take(header.len);
    let level = ProtocolLevel::read(&mut reader);
    if len > limit {
        // The version has often arrived already, and 5.0 has a code for this.
        let version = level.ok().map(|level| level.version);
        return Err(InvalidConnect { reason: Malformed::TooLarge { len, limit }, version });
    }
    let whole = buf.len() >= len;
    let incomplete = Ok(Progress::Incomplete { need: len });
    let level = match level {
        Err(Malformed::Truncated) if !whole => return incomplete,
        level => level.map_err(refuse(None))?,
    };
    let refuse = refuse(Some(level.version));
    if level.version == Version::V5 && !header.minimal {
        // [MQTT-1.5.5-1]. 3.1 and 3.1.1 take a length in any form of up to four bytes.
        return Err(refuse(Malformed::RemainingLengthNotMinimal));
    }
    let flags = match ConnectFlags::read(&mut reader, level.version) {
        Err(Malformed::Truncated) if !whole => return incomplete,
        flags => flags.map_err(refuse)?,
    };
    if !whole {
        return incomplete;
    }
    body(reader, level, flags, len).map(Progress::Complete).map_err(refuse)
}

fn fixed_header(buf: &[u8]) -> Result<Option<FixedHeader>, Malformed> {
    match buf.first() {
        None => Ok(None),
        Some(&FIRST_BYTE) => FixedHeader::read(buf),
        // 3.1 calls these flags merely unused. But no client is known to set them, and this byte
        // keeps other protocols out.
        Some(&byte) if byte & 0xF0 == FIRST_BYTE => Err(Malformed::HeaderFlags(byte)),
        Some(&byte) => Err(Malformed::NotConnect(byte)),
    }
}

/// The protocol name and level.
#[derive(Clone, Copy)]
struct ProtocolLevel {
    version: Version,
    bridge: bool,
}

impl ProtocolLevel {
    fn read(reader: &mut PacketReader<'_>) -> Result<Self, Malformed> {
        let name = match reader.u16()? {
            4 => "MQTT",
            6 => "MQIsdp",
            _ => return Err(Malformed::ProtocolName),
        };
        reader.literal(name.as_bytes())?.ok_or(Malformed::ProtocolName)?;
        let level = reader.u8()?;
        let version = match (name, level & !BRIDGE) {
            ("MQIsdp", 3) => Version::V31,
            ("MQTT", 4) => Version::V311,
            ("MQTT", 5) => Version::V5,
            _ => return Err(Malformed::ProtocolLevel { name, level }),
        };
        // At level 5 the bit is accepted, as Mosquitto does, but ignored: 5.0 has No Local and
        // Retain As Published for what bridges need.
        let bridge = level & BRIDGE != 0 && version != Version::V5;
        Ok(Self { version, bridge })
    }
}

/// The connect flags (3.1.1 §3.1.2.3, 5.0 §3.1.2.3).
#[derive(Clone, Copy)]
struct ConnectFlags {
    username: bool,
    password: bool,
    /// The Will's QoS and Retain.
    will: Option<(Qos, bool)>,
    clean_start: bool,
}

impl ConnectFlags {
    fn read(reader: &mut PacketReader<'_>, version: Version) -> Result<Self, Malformed> {
        let byte = reader.u8()?;
        let is_set = |bit: u8| byte & bit != 0;
        // [MQTT-3.1.2-3]. 3.1 calls the bit "not used" without a value, so any is accepted.
        if is_set(0x01) && version != Version::V31 {
            return Err(Malformed::ReservedConnectFlag);
        }
        let (username, password) = (is_set(0x80), is_set(0x40));
        // [MQTT-3.1.2-22] of 3.1.1, and likewise in 3.1. 5.0 allows it, for tokens (§3.1.2.9).
        if password && !username && version != Version::V5 {
            return Err(Malformed::PasswordWithoutUsername);
        }
        let will = is_set(0x04);
        // [MQTT-3.1.2-13], [MQTT-3.1.2-15]; 3.1 ignores both without a Will.
        if !will && is_set(0x38) && version != Version::V31 {
            return Err(Malformed::WillFlagsWithoutWill);
        }
        let will = if will { Some((qos(byte >> 3 & 0b11)?, is_set(0x20))) } else { None };
        Ok(Self { username, password, will, clean_start: is_set(0x02) })
    }
}

fn qos(bits: u8) -> Result<Qos, Malformed> {
    match bits {
        0 => Ok(Qos::AtMostOnce),
        1 => Ok(Qos::AtLeastOnce),
        2 => Ok(Qos::ExactlyOnce),
        _ => Err(Malformed::WillQos),
    }
}

/// Parses what follows the connect flags of a complete packet.
fn body(
    mut reader: PacketReader<'_>,
    level: ProtocolLevel,
    flags: ConnectFlags,
    len: usize,
) -> Result<Connect, Malformed> {
    let version = level.version;
    let keep_alive = reader.u16()?;
    let (session_expiry, auth_method) = match version {
        Version::V5 => properties(&mut reader)?,
        Version::V31 | Version::V311 => (None, false),
    };
    let client_id = reader.string("client ID")?;
    let will = match flags.will {
        Some((qos, retain)) => Some(Will { qos, retain, topic: will(&mut reader, version)? }),
        None => None,
    };
    // 3.1 (CONNECT, "User name"): clients of earlier versions may set these flags and omit the
    // fields, and "connections should be allowed to continue".
    let left_out = |reader: &PacketReader<'_>| version == Version::V31 && reader.left() == 0;
    let username =
        if flags.username && !left_out(&reader) { Some(reader.string("username")?) } else { None };
    let has_password = flags.password && !left_out(&reader);
    if has_password {
        reader.binary()?;
    }
    match reader.left() {
        0 => Ok(Connect {
            len,
            version,
            bridge: level.bridge,
            clean_start: flags.clean_start,
            auth_method,
            has_password,
            keep_alive,
            client_id,
            username,
            will,
            session_expiry,
        }),
        left => Err(Malformed::TrailingBytes(left)),
    }
}

/// Returns the Session Expiry Interval, and whether there is an Authentication Method.
fn properties(reader: &mut PacketReader<'_>) -> Result<(Option<u32>, bool), Malformed> {
    let (mut session_expiry, mut auth_method, mut auth_data) = (None, false, false);
    let mut properties = Properties::read(reader, CONNECT)?;
    while let Some(property) = properties.next()? {
        match property {
            (SESSION_EXPIRY_INTERVAL, PropertyValue::Integer(seconds)) => {
                session_expiry = Some(seconds);
            }
            (AUTHENTICATION_METHOD, _) => auth_method = true,
            (AUTHENTICATION_DATA, _) => auth_data = true,
            _ => {}
        }
    }
    // "It is a Protocol Error to include Authentication Data if there is no Authentication Method"
    // (5.0 §3.1.2.11.10), in either order.
    if auth_data && !auth_method {
        return Err(Malformed::AuthenticationDataWithoutMethod);
    }
    Ok((session_expiry, auth_method))
}

/// Reads the Will's properties, topic and payload; returns the topic.
fn will(reader: &mut PacketReader<'_>, version: Version) -> Result<Span, Malformed> {
    if version == Version::V5 {
        let mut properties = Properties::read(reader, WILL)?;
        while properties.next()?.is_some() {}
    }
    let topic = reader.string("Will topic")?;
    reader.binary()?;
    Ok(topic)
}
