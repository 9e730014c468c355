//! The host that a client asks for, read from its first message.
//!
//! rustls knows it too, and its unbuffered connections do not tell.

use rustls::pki_types::DnsName;

/// A record's header, and the content type of handshake messages (RFC 8446, section 5.1).
const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
/// Records that a first message may be cut into: more than any client does, and few enough that
/// looking again with each byte that comes costs nothing.
const MOST_RECORDS: usize = 32;
/// The type of a ClientHello (RFC 8446, section 4).
const CLIENT_HELLO: u8 = 1;
/// The extension, and the only type of name in it (RFC 6066, section 3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// The server name in a ClientHello, in lower case; `None` if there is none, or the message is not
/// whole, or not one that rustls would take either.
pub(super) fn server_name(wire: &[u8]) -> Option<Box<str>> {
    let message = first_message(wire)?;
    let mut hello = Reader(&message);
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

/// The body of the first handshake message, which may be spread over several records.
fn first_message(wire: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut records = Reader(wire);
    for _ in 0..MOST_RECORDS {
        let header = records.take(RECORD_HEADER)?;
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != HANDSHAKE {
            return None;
        }
        message.extend_from_slice(records.take(len)?);
        let mut reader = Reader(&message);
        if let (Some(kind), Some(body)) = (reader.number(1), reader.vector(3)) {
            return (kind == usize::from(CLIENT_HELLO)).then(|| body.to_vec());
        }
    }
    None
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
