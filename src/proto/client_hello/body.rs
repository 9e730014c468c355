//! The fields of a ClientHello.

use rustls::pki_types::DnsName;

/// The extension, and the only type of name in it (RFC 6066, section 3).
const SERVER_NAME: usize = 0;
const HOST_NAME: usize = 0;

/// The length of the version and the random bytes (RFC 8446, section 4.1.2).
const VERSION_AND_RANDOM_BYTES: usize = 2 + 32;

/// A field is longer than what is left of the body.
#[derive(Debug)]
pub(super) struct FieldTooLong;

/// The server name in the body of a ClientHello, in lower case; `None` if it is absent, or not a DNS
/// name.
pub(super) fn server_name(body: &[u8]) -> Result<Option<Box<str>>, FieldTooLong> {
    Ok(server_name_extension(body)?.and_then(host_name))
}

/// The content of the extension.
fn server_name_extension(body: &[u8]) -> Result<Option<&[u8]>, FieldTooLong> {
    let mut hello = HelloReader(body);
    hello.take(VERSION_AND_RANDOM_BYTES)?;
    hello.vector(1)?; // session ID
    hello.vector(2)?; // cipher suites
    hello.vector(1)?; // compression methods
    if hello.0.is_empty() {
        // Before TLS 1.3, the extensions may be absent (RFC 5246, section 7.4.1.2).
        return Ok(None);
    }
    let mut extensions = HelloReader(hello.vector(2)?);
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == SERVER_NAME && found.is_none() {
            found = Some(content);
        }
    }
    Ok(found)
}

/// The first name in the extension, if it is a DNS name.
fn host_name(extension: &[u8]) -> Option<Box<str>> {
    let mut names = HelloReader(HelloReader(extension).vector(2).ok()?);
    let is_host = names.number(1).ok()? == HOST_NAME;
    let name = str::from_utf8(names.vector(2).ok()?).ok()?;
    // Without the dot of a fully qualified name, which RFC 6066 forbids and some clients send.
    let name = DnsName::try_from(name).ok().filter(|_| is_host)?;
    Some(name.as_ref().to_ascii_lowercase().into())
}

/// Takes bytes from the front, never past the end.
struct HelloReader<'a>(&'a [u8]);

impl<'a> HelloReader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], FieldTooLong> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(FieldTooLong)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Result<usize, FieldTooLong> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A vector: its length in `width` bytes, then its content.
    fn vector(&mut self, width: usize) -> Result<&'a [u8], FieldTooLong> {
        let len = self.number(width)?;
        self.take(len)
    }
}
