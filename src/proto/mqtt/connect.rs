//! The CONNECT packet (3.1.1 §3.1, 5.0 §3.1).

use std::num::NonZeroU32;

use super::{
    connect_flags::{ConnectFlags, Qos},
    invalid_connect::InvalidConnect,
    malformed::Malformed,
    packet::{FixedHeader, Progress},
    properties::{
        AUTHENTICATION_DATA, AUTHENTICATION_METHOD, CONNECT, MAXIMUM_PACKET_SIZE, Properties,
        PropertyValue, SESSION_EXPIRY_INTERVAL, WILL,
    },
    reader::{PacketReader, Span},
    strictness::{Strictness, Tolerance},
    version::{ProtocolLevel, Version},
};

/// A complete CONNECT: its fields, and where its strings are in its bytes.
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
    /// Seconds; 0 turns the keep alive off.
    pub keep_alive: u16,
    /// Not UTF-8 in some packets that are read leniently; [`Span::text`] is for those too.
    pub client_id: Span,
    /// As `client_id`.
    pub username: Option<Span>,
    /// Binary Data, so any bytes.
    pub password: Option<Span>,
    pub will: Option<Will>,
    /// Session Expiry Interval in seconds, if present (5.0 §3.1.2.11.2).
    pub session_expiry: Option<u32>,
    /// The longest packet in bytes that the client accepts, if it states one (5.0 §3.1.2.11.4).
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Whether a strict reader accepts the packet, as it does every one that it reads itself.
    /// Fields after the client ID may be missing here otherwise.
    pub conforms: bool,
}

/// The message that a broker publishes when the client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will {
    pub qos: Qos,
    pub retain: bool,
    pub topic: Span,
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
/// As soon as the bytes show that they are not the beginning of a conforming CONNECT, or to a
/// lenient reader, of one whose version and client ID can be found.
pub fn parse(
    buf: &[u8],
    limit: usize,
    strictness: Strictness,
) -> Result<Progress<Connect>, InvalidConnect> {
    let mut tolerance = Tolerance::new(strictness);
    let refuse = |version| move |reason| InvalidConnect { reason, version };
    let Some(header) = fixed_header(buf, &mut tolerance).map_err(refuse(None))? else {
        // A packet has at least two bytes (3.1.1 §2.2).
        return Ok(Progress::Incomplete { need: (buf.len() + 1).max(2) });
    };
    let len = header.packet_len;
    let mut reader = PacketReader::new(buf.get(..len).unwrap_or(buf));
    // Cannot fail: the header was read from these bytes.
    let _ = reader.take(header.len);
    let level = ProtocolLevel::read(&mut reader, &mut tolerance);
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
    // What does not have the form guessed for an unknown level is refused for its level.
    let refuse = |reason| match level.unknown {
        Some(level) => refuse(None)(level),
        None => refuse(Some(level.version))(reason),
    };
    if level.version == Version::V5 && !header.minimal {
        // [MQTT-1.5.5-1]. 3.1 and 3.1.1 take a length in any form of up to four bytes.
        tolerance.note(Malformed::RemainingLengthNotMinimal).map_err(refuse)?;
    }
    let flags = match ConnectFlags::read(&mut reader, level.version, &mut tolerance) {
        Err(Malformed::Truncated) if !whole => return incomplete,
        flags => flags.map_err(refuse)?,
    };
    if !whole {
        return incomplete;
    }
    body(reader, level, flags, tolerance).map(Progress::Complete).map_err(refuse)
}

fn fixed_header(buf: &[u8], tolerance: &mut Tolerance) -> Result<Option<FixedHeader>, Malformed> {
    match buf.first() {
        None => return Ok(None),
        Some(&FIRST_BYTE) => {}
        // 3.1 calls these flags merely unused. But no client is known to set them, and this byte
        // keeps other protocols out.
        Some(&byte) if byte & 0xF0 == FIRST_BYTE => tolerance.note(Malformed::HeaderFlags(byte))?,
        Some(&byte) => return Err(Malformed::NotConnect(byte)),
    }
    FixedHeader::read(buf)
}

/// Parses what follows the connect flags of a complete packet.
fn body(
    mut reader: PacketReader<'_>,
    level: ProtocolLevel,
    flags: ConnectFlags,
    mut tolerance: Tolerance,
) -> Result<Connect, Malformed> {
    let keep_alive = reader.u16()?;
    let properties = match level.version {
        Version::V5 => ConnectProperties::read(&mut reader, &mut tolerance)?,
        Version::V31 | Version::V311 => ConnectProperties::default(),
    };
    let mut connect = Connect {
        len: reader.end(),
        version: level.version,
        bridge: level.bridge,
        clean_start: flags.clean_start,
        auth_method: properties.auth_method,
        keep_alive,
        client_id: reader.string("client ID", &mut tolerance)?,
        username: None,
        password: None,
        will: None,
        session_expiry: properties.session_expiry,
        maximum_packet_size: properties.maximum_packet_size,
        conforms: true,
    };
    let rest = connect.read_rest(&mut reader, flags, &mut tolerance);
    let rest = rest.and_then(|_| match reader.left() {
        0 => Ok(()),
        left => Err(Malformed::TrailingBytes(left)),
    });
    if let Err(fault) = rest {
        tolerance.note(fault)?;
    }
    connect.conforms = tolerance.is_unused();
    Ok(connect)
}

impl Connect {
    /// What a strict reader refuses the packet for: its first violation of the standard, for a log.
    /// `packet` is what this was parsed from.
    pub fn violation(&self, packet: &[u8]) -> Option<Malformed> {
        if self.conforms {
            return None;
        }
        parse(packet, self.len, Strictness::Strict).err().map(|error| error.reason)
    }

    /// The offset of username and password, or where they would be: behind the Will. `packet` is
    /// what this was parsed from, and its connect flags are at `flags`.
    ///
    /// # Errors
    /// If a field up to there or one of these two runs past the end of a packet that was read
    /// leniently.
    pub(super) fn credentials_position(
        mut self,
        packet: &[u8],
        flags: usize,
    ) -> Result<usize, Malformed> {
        let tolerance = &mut Tolerance::new(Strictness::Lenient);
        let mut reader = PacketReader::new(packet);
        reader.take(flags)?;
        let flags = ConnectFlags::read(&mut reader, self.version, tolerance)?;
        reader.take(self.client_id.range().end.saturating_sub(reader.position()))?;
        self.read_rest(&mut reader, flags, tolerance)
    }

    /// Parses Will, username and password; returns the offset of the last two.
    fn read_rest(
        &mut self,
        reader: &mut PacketReader<'_>,
        flags: ConnectFlags,
        tolerance: &mut Tolerance,
    ) -> Result<usize, Malformed> {
        if let Some((qos, retain)) = flags.will {
            self.will = Some(Will { qos, retain, topic: will(reader, self.version, tolerance)? });
        }
        let credentials_at = reader.position();
        // 3.1 (CONNECT, "User name"): clients of earlier versions may set these flags and omit the
        // fields, and "connections should be allowed to continue".
        let can_omit = self.version == Version::V31;
        let left_out = |reader: &PacketReader<'_>| can_omit && reader.left() == 0;
        if flags.username && !left_out(reader) {
            self.username = Some(reader.string("username", tolerance)?);
        }
        if flags.password && !left_out(reader) {
            self.password = Some(reader.binary()?);
        }
        Ok(credentials_at)
    }
}

/// The properties that this proxy uses.
#[derive(Default)]
struct ConnectProperties {
    session_expiry: Option<u32>,
    maximum_packet_size: Option<NonZeroU32>,
    auth_method: bool,
}

impl ConnectProperties {
    fn read(reader: &mut PacketReader<'_>, tolerance: &mut Tolerance) -> Result<Self, Malformed> {
        let (mut found, mut auth_data) = (Self::default(), false);
        let mut properties = Properties::read(reader, CONNECT, tolerance)?;
        while let Some(property) = properties.next_noted(tolerance)? {
            match property {
                (SESSION_EXPIRY_INTERVAL, PropertyValue::Integer(seconds)) => {
                    found.session_expiry = Some(seconds);
                }
                (MAXIMUM_PACKET_SIZE, PropertyValue::Integer(bytes)) => {
                    found.maximum_packet_size = NonZeroU32::new(bytes);
                }
                (AUTHENTICATION_METHOD, _) => found.auth_method = true,
                (AUTHENTICATION_DATA, _) => auth_data = true,
                _ => {}
            }
        }
        // "It is a Protocol Error to include Authentication Data if there is no Authentication
        // Method" (5.0 §3.1.2.11.10), in either order.
        if auth_data && !found.auth_method {
            tolerance.note(Malformed::AuthenticationDataWithoutMethod)?;
        }
        Ok(found)
    }
}

/// Reads the Will's properties, topic and payload; returns the topic.
fn will(
    reader: &mut PacketReader<'_>,
    version: Version,
    tolerance: &mut Tolerance,
) -> Result<Span, Malformed> {
    if version == Version::V5 {
        let mut properties = Properties::read(reader, WILL, tolerance)?;
        while properties.next_noted(tolerance)?.is_some() {}
    }
    let topic = reader.string("Will topic", tolerance)?;
    reader.binary()?;
    Ok(topic)
}
