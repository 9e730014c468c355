//! The server name that a client asks for, read from its ClientHello.
//!
//! rustls parses it too, but its unbuffered connections have no accessor for it.

use rustls::pki_types::DnsName;

/// The length of a record's header, and the content type of handshake messages (RFC 8446, section
/// 5.1).
const RECORD_HEADER_BYTES: usize = 5;
const HANDSHAKE: u8 = 22;
/// Records that a ClientHello may be split into: more than any client does.
const MAX_RECORDS: usize = 32;
/// The longest ClientHello that is read: more than any client sends, even with a ticket that
/// contains its certificates.
const MAX_HELLO_BYTES: usize = 16 * 1024;
/// The length of a handshake message's type and length (RFC 8446, section 4).
const MESSAGE_HEADER_BYTES: usize = 4;
/// The type of a ClientHello (RFC 8446, section 4).
const CLIENT_HELLO: u8 = 1;
/// The extension, and the only type of name in it (RFC 6066, section 3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Reads the server name from a client's records as they arrive, each byte once.
#[derive(Default)]
pub(super) struct ServerNameReader {
    /// The header of the current record, as far as it has arrived.
    header: Vec<u8>,
    /// Bytes of the current record that have not arrived.
    left: usize,
    records: usize,
    message: Vec<u8>,
    /// The message is complete, or is not a ClientHello.
    is_done: bool,
    name: Option<Box<str>>,
}

impl ServerNameReader {
    /// The server name, in lower case; `None` if it is absent, or if the message is incomplete or
    /// invalid, in which case rustls does not accept it either.
    pub(super) fn finish(self) -> Option<Box<str>> {
        self.name
    }

    /// Reads the next bytes from the client.
    pub(super) fn read(&mut self, mut wire: &[u8]) {
        while !self.is_done && !wire.is_empty() {
            if self.left > 0 {
                let part = take_up_to(self.left, &mut wire);
                self.message.extend_from_slice(part);
                self.left -= part.len();
                self.parse_if_whole();
                continue;
            }
            let part = take_up_to(RECORD_HEADER_BYTES - self.header.len(), &mut wire);
            self.header.extend_from_slice(part);
            if let [content, _, _, high, low] = *self.header {
                self.header.clear();
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.records += 1;
                self.is_done = content != HANDSHAKE || self.records > MAX_RECORDS;
            }
        }
        if self.is_done {
            (self.header, self.message) = (Vec::new(), Vec::new());
        }
    }

    /// Parses the message once it is complete.
    fn parse_if_whole(&mut self) {
        let mut reader = HelloReader(&self.message);
        let (Some(kind), Some(len)) = (reader.number(1), reader.number(3)) else { return };
        if kind != usize::from(CLIENT_HELLO) || len > MAX_HELLO_BYTES {
            self.is_done = true;
        } else if self.message.len() >= MESSAGE_HEADER_BYTES + len {
            self.name = reader.take(len).and_then(server_name);
            self.is_done = true;
        }
    }
}

fn take_up_to<'a>(limit: usize, wire: &mut &'a [u8]) -> &'a [u8] {
    let (taken, rest) = wire.split_at(limit.min(wire.len()));
    *wire = rest;
    taken
}

/// The server name in the body of a ClientHello.
fn server_name(body: &[u8]) -> Option<Box<str>> {
    let mut hello = HelloReader(body);
    hello.take(2 + 32)?; // version, random
    hello.vector(1)?; // session ID
    hello.vector(2)?; // cipher suites
    hello.vector(1)?; // compression methods
    let mut extensions = HelloReader(hello.vector(2)?);
    loop {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == usize::from(SERVER_NAME) {
            let mut names = HelloReader(HelloReader(content).vector(2)?);
            let is_host = names.number(1)? == usize::from(HOST_NAME);
            let name = std::str::from_utf8(names.vector(2)?).ok()?;
            let is_valid = is_host && DnsName::try_from(name).is_ok();
            return is_valid.then(|| name.to_ascii_lowercase().into());
        }
    }
}

/// Takes bytes from the front, never past the end.
struct HelloReader<'a>(&'a [u8]);

impl<'a> HelloReader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        let bytes = self.take(width)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A vector: its length in `width` bytes, then its content.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let len = self.number(width)?;
        self.take(len)
    }
}
