//! The CONNACK packet (3.1.1 §3.2, 5.0 §3.2).

use super::malformed::Malformed;
use super::packet::{FixedHeader, Progress, Version};
use super::properties::{
    ASSIGNED_CLIENT_IDENTIFIER, CONNACK, Properties, REASON_STRING, SERVER_KEEP_ALIVE,
    SERVER_REFERENCE, Value,
};
use super::reader::{Reader, Span};

/// What a broker answered to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Its length in bytes, fixed header included.
    pub len: usize,
    /// 0 lets the client in; [`reason::name`](super::reason::name) has the others.
    pub code: u8,
    /// Whether the broker kept a session of this client; never in 3.1, which can't say so.
    pub session_present: bool,
    /// Seconds, in force instead of the CONNECT's keep alive (5.0 §3.2.2.3.14).
    pub server_keep_alive: Option<u16>,
    pub assigned_client_id: Option<Span>,
    pub server_reference: Option<Span>,
    pub reason_string: Option<Span>,
}

/// Type 2 with all flags reserved and 0 (3.1.1 §3.2.1, 5.0 §3.2.1).
const FIRST_BYTE: u8 = 0x20;

/// What a 3.x CONNACK has after its fixed header: acknowledge flags and return code (3.1.1 §3.2.1).
const REMAINING_V3: usize = 2;

/// Reads the CONNACK that `buf` starts with, in answer to a CONNECT of `version`; bytes behind it
/// are not looked at, and no packet longer than `limit` bytes is waited for.
///
/// # Errors
/// As soon as the bytes show that no well-formed CONNACK can come of them.
pub fn parse(buf: &[u8], version: Version, limit: usize) -> Result<Progress<Connack>, Malformed> {
    let header = match buf.first() {
        None => None,
        Some(&FIRST_BYTE) => FixedHeader::read(buf)?,
        Some(&byte) => return Err(Malformed::NotConnack(byte)),
    };
    let Some(header) = header else {
        return Ok(Progress::Incomplete { need: (buf.len() + 1).max(2) });
    };
    let len = header.packet_len;
    let remaining = len - header.len;
    if remaining != REMAINING_V3 && version != Version::V5 {
        return Err(Malformed::ConnackLength(remaining));
    }
    if len > limit {
        return Err(Malformed::TooLarge { len, limit });
    }
    let Some(packet) = buf.get(..len) else {
        return Ok(Progress::Incomplete { need: len });
    };
    let mut reader = Reader::new(packet);
    reader.take(header.len)?;
    body(reader, version, len).map(Progress::Complete)
}

fn body(mut reader: Reader<'_>, version: Version, len: usize) -> Result<Connack, Malformed> {
    let flags = reader.u8()?;
    // [MQTT-3.2.2-1]. In 3.1 the whole byte is reserved and holds anything.
    if flags > 1 && version != Version::V31 {
        return Err(Malformed::ConnackFlags(flags));
    }
    let mut connack = Connack {
        len,
        code: reader.u8()?,
        session_present: flags == 1 && version != Version::V31,
        server_keep_alive: None,
        assigned_client_id: None,
        server_reference: None,
        reason_string: None,
    };
    // A broker that knows no 5.0 answers in the form it knows, which ends here.
    if version == Version::V5 && reader.left() > 0 {
        properties(&mut reader, &mut connack)?;
    }
    match reader.left() {
        0 => Ok(connack),
        left => Err(Malformed::TrailingBytes(left)),
    }
}

fn properties(reader: &mut Reader<'_>, connack: &mut Connack) -> Result<(), Malformed> {
    let mut properties = Properties::read(reader, CONNACK)?;
    while let Some(property) = properties.next()? {
        match property {
            (SERVER_KEEP_ALIVE, Value::Integer(seconds)) => {
                connack.server_keep_alive = Some(seconds as u16);
            }
            (ASSIGNED_CLIENT_IDENTIFIER, Value::Text(span)) => {
                connack.assigned_client_id = Some(span);
            }
            (SERVER_REFERENCE, Value::Text(span)) => connack.server_reference = Some(span),
            (REASON_STRING, Value::Text(span)) => connack.reason_string = Some(span),
            _ => {}
        }
    }
    Ok(())
}
