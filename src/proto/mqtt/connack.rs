//! The CONNACK packet (3.1.1 §3.2, 5.0 §3.2).

use std::{num::NonZeroU32, ops::Range};

use super::{
    malformed::Malformed,
    packet::{FixedHeader, Progress},
    properties::{
        ASSIGNED_CLIENT_IDENTIFIER, CONNACK, Properties, PropertyValue, REASON_STRING,
        SERVER_KEEP_ALIVE, SERVER_REFERENCE,
    },
    reader::{PacketReader, Span},
    reason::RejectReason,
    strictness::{Strictness, Tolerance},
    version::Version,
    writer::{EncodedVarint, put_field},
};

/// A broker's answer to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack {
    /// The packet's length in bytes, fixed header included.
    pub len: usize,
    /// 0: accepted. [`reason::name`](super::reason::name) names the others.
    pub code: u8,
    /// Whether the broker has a session of this client; always false in 3.1, which lacks the flag.
    pub session_present: bool,
    /// Seconds; replaces the CONNECT's keep alive (5.0 §3.2.2.3.14).
    pub server_keep_alive: Option<u16>,
    pub assigned_client_id: Option<Span>,
    pub server_reference: Option<Span>,
    pub reason_string: Option<Span>,
    /// The first violation of the standard. Properties after it are missing here.
    pub malformed: Option<Malformed>,
}

/// Type 2 with all flags reserved and 0 (3.1.1 §3.2.1, 5.0 §3.2.1).
const FIRST_BYTE: u8 = 0x20;

/// Bytes of a 3.x CONNACK after its fixed header: acknowledge flags and return code (3.1.1 §3.2.1).
/// A shorter packet has no code.
const FLAGS_AND_CODE_BYTES: usize = 2;

/// Parses the CONNACK that `buf` starts with, in answer to a CONNECT of `version`; bytes after it
/// are ignored. Fails instead of waiting for a packet longer than `limit` bytes.
///
/// A packet with a length and a code is accepted, whatever else is wrong with it: the client
/// decides about it, and [`Connack::malformed`] is the error of a strict parser.
///
/// # Errors
/// As soon as the bytes show that they are not the beginning of a CONNACK with a code, or that it
/// exceeds the limit.
pub fn parse(buf: &[u8], version: Version, limit: usize) -> Result<Progress<Connack>, Malformed> {
    let header = match buf.first() {
        None => None,
        Some(byte) if byte >> 4 == FIRST_BYTE >> 4 => FixedHeader::read(buf)?,
        Some(&byte) => return Err(Malformed::NotConnack(byte)),
    };
    let Some(header) = header else {
        return Ok(Progress::Incomplete { need: (buf.len() + 1).max(2) });
    };
    let len = header.packet_len;
    let remaining = len - header.len;
    if remaining < FLAGS_AND_CODE_BYTES {
        return Err(Malformed::ConnackLength(remaining));
    }
    if len > limit {
        return Err(Malformed::TooLarge { len, limit });
    }
    let Some(packet) = buf.get(..len) else {
        return Ok(Progress::Incomplete { need: len });
    };
    let mut reader = PacketReader::new(packet);
    reader.take(header.len)?;
    let (flags, code) = (reader.u8()?, reader.u8()?);
    let mut connack = Connack::new(len, flags, code, version);
    let rest = connack.read_rest(&mut reader, version).err();
    connack.malformed = header_fault(packet, header).or(flags_fault(flags, version)).or(rest);
    Ok(Progress::Complete(connack))
}

fn header_fault(packet: &[u8], header: FixedHeader) -> Option<Malformed> {
    match packet.first() {
        Some(&first) if first != FIRST_BYTE => Some(Malformed::HeaderFlags(first)),
        _ => (!header.minimal).then_some(Malformed::RemainingLengthNotMinimal),
    }
}

/// [MQTT-3.2.2-1]. In 3.1 the whole byte is reserved and holds anything.
fn flags_fault(flags: u8, version: Version) -> Option<Malformed> {
    (flags > 1 && version != Version::V31).then_some(Malformed::ConnackFlags(flags))
}

impl Connack {
    fn new(len: usize, flags: u8, code: u8, version: Version) -> Self {
        Self {
            len,
            code,
            session_present: flags & 1 == 1 && version != Version::V31,
            server_keep_alive: None,
            assigned_client_id: None,
            server_reference: None,
            reason_string: None,
            malformed: None,
        }
    }

    /// Parses what follows the code.
    fn read_rest(
        &mut self,
        reader: &mut PacketReader<'_>,
        version: Version,
    ) -> Result<(), Malformed> {
        // A broker that does not support 5.0 answers in the form of 3.x, which ends here.
        if version == Version::V5 && reader.left() > 0 {
            self.read_properties(reader)?;
        }
        match reader.left() {
            0 => Ok(()),
            left => Err(Malformed::TrailingBytes(left)),
        }
    }

    fn read_properties(&mut self, reader: &mut PacketReader<'_>) -> Result<(), Malformed> {
        let tolerance = &mut Tolerance::new(Strictness::Strict);
        let mut properties = Properties::read(reader, CONNACK, tolerance)?;
        while let Some(property) = properties.next(tolerance)? {
            match property {
                (SERVER_KEEP_ALIVE, PropertyValue::Integer(seconds)) => {
                    self.server_keep_alive = Some(seconds as u16);
                }
                (ASSIGNED_CLIENT_IDENTIFIER, PropertyValue::Text(span)) => {
                    self.assigned_client_id = Some(span);
                }
                (SERVER_REFERENCE, PropertyValue::Text(span)) => self.server_reference = Some(span),
                (REASON_STRING, PropertyValue::Text(span)) => self.reason_string = Some(span),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The CONNACK of 5.0 that sends a client to another server (5.0 §3.2.2.3.16, §4.13); without its
/// name if the packet would exceed the client's Maximum Packet Size [MQTT-3.1.2-24].
pub fn use_another_server(server: &str, maximum_packet_size: Option<NonZeroU32>) -> Vec<u8> {
    let code = RejectReason::UseAnotherServer.code(Version::V5);
    let mut properties = vec![SERVER_REFERENCE];
    put_field(&mut properties, server.as_bytes());
    let packet = (|| {
        let block = EncodedVarint::new(properties.len()).ok()?;
        let remaining = FLAGS_AND_CODE_BYTES + block.as_bytes().len() + properties.len();
        let remaining = EncodedVarint::new(remaining).ok()?;
        u16::try_from(server.len()).ok()?;
        let header = [&[FIRST_BYTE], remaining.as_bytes(), &[0, code], block.as_bytes()];
        Some([&header.concat()[..], &properties].concat())
    })();
    let fits = |packet: &Vec<u8>| {
        maximum_packet_size.is_none_or(|most| packet.len() <= most.get() as usize)
    };
    let plain = || RejectReason::UseAnotherServer.connack(Version::V5).to_vec();
    packet.filter(fits).unwrap_or_else(plain)
}

/// Inserts the property Assigned Client Identifier (5.0 §3.2.2.3.7) before the broker's properties,
/// into the CONNACK of `len` bytes that starts `reply` and answers a 5.0 client. All other bytes
/// stay, those of later packets among them. Spans of a [`Connack`] parsed before do not apply any
/// more.
///
/// Returns the packet's new length; `None` if `reply` did not change: the broker has assigned an ID
/// itself, the packet's properties cannot be found, `id` is longer than 65,535 bytes, or the packet
/// would exceed the client's Maximum Packet Size [MQTT-3.1.2-24].
pub fn add_assigned_client_id(
    reply: &mut Vec<u8>,
    len: usize,
    id: &str,
    maximum_packet_size: Option<NonZeroU32>,
) -> Option<usize> {
    let packet = reply.get(..len)?;
    let header = FixedHeader::read(packet).ok()??;
    let (length, block_len) = property_length(packet, header).ok()??;
    u16::try_from(id.len()).ok()?;
    let mut property = vec![ASSIGNED_CLIENT_IDENTIFIER];
    put_field(&mut property, id.as_bytes());
    let block_len = EncodedVarint::new(block_len + property.len()).ok()?;
    let inserted = block_len.as_bytes().len() + property.len();
    let remaining = len - header.len - length.len() + inserted;
    let encoded = EncodedVarint::new(remaining).ok()?;
    let new_len = 1 + encoded.as_bytes().len() + remaining;
    if maximum_packet_size.is_some_and(|most| new_len > most.get() as usize) {
        return None;
    }
    reply.splice(length, block_len.as_bytes().iter().copied().chain(property));
    reply.splice(1..header.len, encoded.as_bytes().iter().copied());
    Some(new_len)
}

/// Where the property length is, empty if the packet ends before it, and its value; `None` if the
/// properties include an Assigned Client Identifier.
fn property_length(
    packet: &[u8],
    header: FixedHeader,
) -> Result<Option<(Range<usize>, usize)>, Malformed> {
    let mut reader = PacketReader::new(packet);
    reader.take(header.len + FLAGS_AND_CODE_BYTES)?;
    let at = reader.position();
    if reader.left() == 0 {
        return Ok(Some((at..at, 0)));
    }
    let tolerance = &mut Tolerance::new(Strictness::Lenient);
    let mut properties = Properties::read(&mut reader, CONNACK, tolerance)?;
    let start = properties.position();
    while let Some((id, _)) = properties.next_noted(tolerance)? {
        if id == ASSIGNED_CLIENT_IDENTIFIER {
            return Ok(None);
        }
    }
    Ok(Some((at..start, reader.position() - start)))
}
