//! The fields of a ClientHello.

use rustls::pki_types::ServerName;

/// The extension, and the only type of name in it (RFC 6066, section 3).
const SERVER_NAME: usize = 0;
const HOST_NAME: usize = 0;

/// The length of the version and the random bytes (RFC 8446, section 4.1.2).
const VERSION_AND_RANDOM_BYTES: usize = 2 + 32;

/// The most characters that are kept of a name that is not a host name, as many as a DNS name has.
const MAX_IGNORED_CHARS: usize = 255;

/// A field is longer than what is left of the body.
#[derive(Debug)]
pub(super) struct FieldTooLong;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestedName {
    /// Nothing, or nothing that can be read.
    Absent,
    /// A DNS name, in lower case.
    Host(Box<str>),
    /// An IP address, which RFC 6066 forbids and some clients send.
    Address(Box<str>),
    /// Something else, such as a host with its port.
    Invalid(Box<str>),
}

/// The server name in the body of a ClientHello.
pub(super) fn requested_name(body: &[u8]) -> Result<RequestedName, FieldTooLong> {
    let extension = server_name_extension(body)?;
    Ok(extension.and_then(|extension| name(extension).ok()).unwrap_or(RequestedName::Absent))
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

/// The only name in the extension.
fn name(extension: &[u8]) -> Result<RequestedName, FieldTooLong> {
    let mut names = HelloReader(HelloReader(extension).vector(2)?);
    let is_host = names.number(1)? == HOST_NAME;
    let bytes = names.vector(2)?;
    if !is_host || bytes.is_empty() {
        return Ok(RequestedName::Absent);
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('.').unwrap_or(&text);
    // Without the dot of a fully qualified name, which RFC 6066 forbids and some clients send.
    Ok(match ServerName::try_from(text) {
        Ok(ServerName::DnsName(name)) => {
            RequestedName::Host(name.as_ref().to_ascii_lowercase().into())
        }
        Ok(ServerName::IpAddress(_)) => RequestedName::Address(text.into()),
        _ if names.0.is_empty() => RequestedName::Invalid(printable(text)),
        _ => RequestedName::Absent,
    })
}

/// A text for the log.
fn printable(text: &str) -> Box<str> {
    let shortened = text.chars().take(MAX_IGNORED_CHARS);
    let text: String =
        shortened.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    text.into()
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
