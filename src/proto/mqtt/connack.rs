//! The CONNACK packet (3.1.1 §3.2, 5.0 §3.2).

use super::{
    malformed::Malformed,
    packet::{FixedHeader, Progress, Version},
    properties::{
        ASSIGNED_CLIENT_IDENTIFIER, CONNACK, Properties, REASON_STRING, SERVER_KEEP_ALIVE,
        SERVER_REFERENCE, Value,
    },
    reader::{Reader, Span},
};

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
    /// The first thing in it that breaks the standard. Its properties are known up to there.
    pub malformed: Option<Malformed>,
}

/// Type 2 with all flags reserved and 0 (3.1.1 §3.2.1, 5.0 §3.2.1).
const FIRST_BYTE: u8 = 0x20;

/// What a 3.x CONNACK has after its fixed header: acknowledge flags and return code (3.1.1 §3.2.1).
/// A packet with less has no code.
const FLAGS_AND_CODE: usize = 2;

/// Reads the CONNACK that `buf` starts with, in answer to a CONNECT of `version`; bytes behind it
/// are not looked at, and no packet longer than `limit` bytes is waited for.
///
/// A packet that has a length and a code is one, whatever else is wrong with it: it is for the
/// client to judge, and [`Connack::malformed`] says what a strict reader finds.
///
/// # Errors
/// As soon as the bytes show that no CONNACK with a code, or one over the limit, comes of them.
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
    if remaining < FLAGS_AND_CODE {
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

    /// Reads what follows the code.
    fn read_rest(&mut self, reader: &mut Reader<'_>, version: Version) -> Result<(), Malformed> {
        // A broker that knows no 5.0 answers in the form it knows, which ends here.
        if version == Version::V5 && reader.left() > 0 {
            self.read_properties(reader)?;
        }
        match reader.left() {
            0 => Ok(()),
            left => Err(Malformed::TrailingBytes(left)),
        }
    }

    fn read_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let mut properties = Properties::read(reader, CONNACK)?;
        while let Some(property) = properties.next()? {
            match property {
                (SERVER_KEEP_ALIVE, Value::Integer(seconds)) => {
                    self.server_keep_alive = Some(seconds as u16);
                }
                (ASSIGNED_CLIENT_IDENTIFIER, Value::Text(span)) => {
                    self.assigned_client_id = Some(span);
                }
                (SERVER_REFERENCE, Value::Text(span)) => self.server_reference = Some(span),
                (REASON_STRING, Value::Text(span)) => self.reason_string = Some(span),
                _ => {}
            }
        }
        Ok(())
    }
}
