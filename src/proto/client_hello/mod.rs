//! A TLS ClientHello, read as it arrives for the server name in it (RFC 8446, section 4.1.2).
//!
//! rustls reads a ClientHello too, but refuses what it could not answer, such as clients of TLS 1.0
//! and host names with odd bytes, which other servers accept or ignore; and its unbuffered connections
//! have no accessor for the server name.

mod body;
#[cfg(test)]
mod tests;

pub(crate) use body::ClientHello;
use body::{FieldTooLong, client_hello};

/// The length of a record's header, and the content type of handshake messages (RFC 8446, section
/// 5.1).
const RECORD_HEADER_BYTES: usize = 5;
const HANDSHAKE: u8 = 22;
/// The first byte of a record's version in every version of TLS; 3.0 is SSL 3.0.
const VERSION_MAJOR: u8 = 3;
/// The length of a handshake message's type and length, and the type of a ClientHello (RFC 8446,
/// section 4).
const MESSAGE_HEADER_BYTES: usize = 4;
const CLIENT_HELLO: u8 = 1;

/// The longest ClientHello that is read: the content of one record (RFC 8446, section 5.1). Clients
/// send up to 2 KiB with post-quantum key shares, more only with tickets that contain certificates.
const MAX_MESSAGE_BYTES: usize = 1 << 14;
/// The number of records that a ClientHello may be split into: more than any client uses.
const MAX_RECORDS: usize = 32;

/// The number of bytes after which a ClientHello is complete or refused.
pub(crate) const MAX_CLIENT_HELLO_BYTES: usize =
    MAX_MESSAGE_BYTES + (MAX_RECORDS + 1) * RECORD_HEADER_BYTES;

/// Why bytes are not a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidClientHello {
    #[error("not TLS: it begins with 0x{0:02X}, and a TLS handshake with 0x16")]
    NotTls(u8),
    #[error("a record of version {0}.x, which is not TLS")]
    RecordVersion(u8),
    #[error("an empty record")]
    EmptyRecord,
    #[error("a record of {0} bytes; up to {MAX_MESSAGE_BYTES} are allowed")]
    RecordTooLong(usize),
    #[error("a record of type {0} inside the ClientHello")]
    Interrupted(u8),
    #[error("a handshake message of type {0} in place of a ClientHello")]
    OtherMessage(u8),
    #[error("a ClientHello of {0} bytes; up to {MAX_MESSAGE_BYTES} are accepted")]
    TooLong(usize),
    #[error("a ClientHello in more than {MAX_RECORDS} records")]
    TooManyRecords,
    #[error("a ClientHello whose fields exceed its length")]
    Fields,
}

/// Reads a ClientHello from a client's records, each byte once.
#[derive(Default)]
pub(crate) struct ClientHelloReader {
    /// The header of the current record, as far as it has arrived.
    header: Vec<u8>,
    /// Bytes of the current record that have not arrived.
    left: usize,
    records: usize,
    message: Vec<u8>,
    /// Whether the message is complete or refused.
    is_done: bool,
}

impl ClientHelloReader {
    /// Reads the next bytes from the client. Returns the ClientHello once, when it is complete.
    ///
    /// # Errors
    /// The bytes are not a ClientHello, or one over a limit. The reader ignores all later bytes.
    pub(crate) fn read(&mut self, wire: &[u8]) -> Result<Option<ClientHello>, InvalidClientHello> {
        if self.is_done {
            return Ok(None);
        }
        let read = self.read_records(wire);
        if !matches!(read, Ok(None)) {
            *self = Self { is_done: true, ..Self::default() };
        }
        read
    }

    fn read_records(&mut self, mut wire: &[u8]) -> Result<Option<ClientHello>, InvalidClientHello> {
        while !wire.is_empty() {
            if self.left > 0 {
                let part = take_up_to(self.left, &mut wire);
                self.message.extend_from_slice(part);
                self.left -= part.len();
                if let Some(body) = whole_body(&self.message)? {
                    let hello = client_hello(body);
                    let mut hello = hello.map_err(|FieldTooLong| InvalidClientHello::Fields)?;
                    if hello.is_refused_by_rustls() && wire.is_empty() && self.left == 0 {
                        hello.refused = Some(std::mem::take(&mut self.message));
                    }
                    return Ok(Some(hello));
                }
                continue;
            }
            let part = take_up_to(RECORD_HEADER_BYTES - self.header.len(), &mut wire);
            self.header.extend_from_slice(part);
            self.check_header()?;
            if let [_, _, _, high, low] = *self.header {
                self.header.clear();
                self.left = match usize::from(u16::from_be_bytes([high, low])) {
                    0 => return Err(InvalidClientHello::EmptyRecord),
                    len if len > MAX_MESSAGE_BYTES => {
                        return Err(InvalidClientHello::RecordTooLong(len));
                    }
                    len => len,
                };
                self.records += 1;
            }
        }
        Ok(None)
    }

    /// Checks as much of a record's header as there is, so that a client of another protocol is
    /// recognized by its first byte.
    fn check_header(&self) -> Result<(), InvalidClientHello> {
        match *self.header {
            _ if self.records == MAX_RECORDS => Err(InvalidClientHello::TooManyRecords),
            [content, ..] if content != HANDSHAKE => Err(match self.records {
                0 => InvalidClientHello::NotTls(content),
                _ => InvalidClientHello::Interrupted(content),
            }),
            [_, major, ..] if major != VERSION_MAJOR => {
                Err(InvalidClientHello::RecordVersion(major))
            }
            _ => Ok(()),
        }
    }
}

/// A record with this message (RFC 8446, section 5.1); `None` if it is too long for one.
pub(crate) fn handshake_record(message: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(message.len()).ok().filter(|len| usize::from(*len) <= 1 << 14)?;
    Some([&[HANDSHAKE, VERSION_MAJOR, 1], &len.to_be_bytes()[..], message].concat())
}

fn take_up_to<'a>(limit: usize, wire: &mut &'a [u8]) -> &'a [u8] {
    let (taken, rest) = wire.split_at(limit.min(wire.len()));
    *wire = rest;
    taken
}

/// The body of a ClientHello; `None` until it is complete.
fn whole_body(message: &[u8]) -> Result<Option<&[u8]>, InvalidClientHello> {
    if let Some(kind) = message.first().filter(|kind| **kind != CLIENT_HELLO) {
        return Err(InvalidClientHello::OtherMessage(*kind));
    }
    let Some((&[_, high, middle, low], rest)) = message.split_first_chunk::<MESSAGE_HEADER_BYTES>()
    else {
        return Ok(None);
    };
    let len = u32::from_be_bytes([0, high, middle, low]) as usize;
    if MESSAGE_HEADER_BYTES + len > MAX_MESSAGE_BYTES {
        return Err(InvalidClientHello::TooLong(MESSAGE_HEADER_BYTES + len));
    }
    Ok(rest.get(..len))
}
