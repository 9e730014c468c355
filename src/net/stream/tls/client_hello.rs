//! The host that a client asks for, read from its first message.
//!
//! rustls knows it too, and its unbuffered connections do not tell.

use rustls::pki_types::DnsName;

/// A record's header, and the content type of handshake messages (RFC 8446, section 5.1).
const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
/// Records that a first message may be cut into: more than any client does.
const MOST_RECORDS: usize = 32;
/// The longest first message that is read: more than any client says, even with a ticket that has its
/// certificates in it.
const LONGEST: usize = 16 * 1024;
/// A handshake message's type and length (RFC 8446, section 4).
const MESSAGE_HEADER: usize = 4;
/// The type of a ClientHello (RFC 8446, section 4).
const CLIENT_HELLO: u8 = 1;
/// The extension, and the only type of name in it (RFC 6066, section 3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Reads the host from a client's records as they come, and each byte of them once.
#[derive(Default)]
pub(super) struct HostReader {
    /// Of the record that is being read.
    header: Vec<u8>,
    /// What of that record has not come.
    left: usize,
    records: usize,
    message: Vec<u8>,
    /// Whether the message is whole, or not one to go on with.
    is_done: bool,
    name: Option<Box<str>>,
}

impl HostReader {
    /// The server name, in lower case; `None` if it is absent, or the message is incomplete, or not
    /// one that rustls would take either.
    pub(super) fn server_name(self) -> Option<Box<str>> {
        self.name
    }

    /// Takes in what has come from the client.
    pub(super) fn read(&mut self, mut wire: &[u8]) {
        while !self.is_done && !wire.is_empty() {
            if self.left > 0 {
                let part = take_up_to(self.left, &mut wire);
                self.message.extend_from_slice(part);
                self.left -= part.len();
                self.look();
                continue;
            }
            let part = take_up_to(RECORD_HEADER - self.header.len(), &mut wire);
            self.header.extend_from_slice(part);
            if let [content, _, _, high, low] = *self.header {
                self.header.clear();
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.records += 1;
                self.is_done = content != HANDSHAKE || self.records > MOST_RECORDS;
            }
        }
        if self.is_done {
            (self.header, self.message) = (Vec::new(), Vec::new());
        }
    }

    /// Reads the message, once it is whole.
    fn look(&mut self) {
        let mut reader = Reader(&self.message);
        let (Some(kind), Some(len)) = (reader.number(1), reader.number(3)) else { return };
        if kind != usize::from(CLIENT_HELLO) || len > LONGEST {
            self.is_done = true;
        } else if self.message.len() >= MESSAGE_HEADER + len {
            self.name = reader.take(len).and_then(server_name);
            self.is_done = true;
        }
    }
}

fn take_up_to<'a>(most: usize, wire: &mut &'a [u8]) -> &'a [u8] {
    let (taken, rest) = wire.split_at(most.min(wire.len()));
    *wire = rest;
    taken
}

/// The server name in the body of a ClientHello.
fn server_name(body: &[u8]) -> Option<Box<str>> {
    let mut hello = Reader(body);
    hello.take(2 + 32)?; // version, random
    hello.vector(1)?; // session ID
    hello.vector(2)?; // cipher suites
    hello.vector(1)?; // compression methods
    let mut extensions = Reader(hello.vector(2)?);
    loop {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == usize::from(SERVER_NAME) {
            let mut names = Reader(Reader(content).vector(2)?);
            let is_host = names.number(1)? == usize::from(HOST_NAME);
            let name = std::str::from_utf8(names.vector(2)?).ok()?;
            let is_valid = is_host && DnsName::try_from(name).is_ok();
            return is_valid.then(|| name.to_ascii_lowercase().into());
        }
    }
}

/// Takes from the front, and never past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        let bytes = self.take(width)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// Bytes behind their own length.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let len = self.number(width)?;
        self.take(len)
    }
}
