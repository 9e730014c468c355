//! The fields of a ClientHello.

use std::net::IpAddr;

use rustls::pki_types::DnsName;

/// The extension, and the only type of name in it (RFC 6066, section 3).
const SERVER_NAME: usize = 0;
const HOST_NAME: usize = 0;

/// The length of the version and the random bytes (RFC 8446, section 4.1.2).
const VERSION_AND_RANDOM_BYTES: usize = 2 + 32;

/// TLS 1.3's (RFC 8446, appendix B.4), then those of TLS 1.2 with ephemeral keys (RFC 7905).
const CHACHA20: [u16; 4] = [0x1303, 0xCCA8, 0xCCA9, 0xCCAA];

/// The most characters that are kept of a name that is not a host name, as many as a DNS name has.
const MAX_IGNORED_CHARS: usize = 255;

/// What a ClientHello says about its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// The host that the client asks for (RFC 6066, section 3), in lower case; `None` if it asks
    /// for none, or for something that is not a DNS name, such as an address.
    pub(crate) server_name: Option<Box<str>>,
    /// What it asks for if that is not a DNS name, without control characters, shortened.
    pub(crate) ignored_name: Option<Box<str>>,
    /// The message, if rustls refuses its server name and no bytes follow it.
    pub(crate) refused: Option<Vec<u8>>,
    /// Whether the cipher suite that the client prefers is one of ChaCha20.
    pub(crate) prefers_chacha20: bool,
}

impl ClientHello {
    /// rustls ignores a server name that is an IP address, but no other one that is not a DNS name.
    pub(super) fn is_refused_by_rustls(&self) -> bool {
        self.ignored_name.as_ref().is_some_and(|name| name.parse::<IpAddr>().is_err())
    }
}

/// A field is longer than what is left of the body.
#[derive(Debug)]
pub(super) struct FieldTooLong;

/// What the body of a ClientHello says.
pub(super) fn client_hello(body: &[u8]) -> Result<ClientHello, FieldTooLong> {
    let mut hello = HelloReader(body);
    hello.take(VERSION_AND_RANDOM_BYTES)?;
    hello.vector(1)?; // session ID
    let suites = hello.vector(2)?;
    hello.vector(1)?; // compression methods
    let extension = server_name_extension(hello)?;
    let requested = extension.and_then(|extension| requested_name(extension).ok());
    let (server_name, ignored_name) = requested.unwrap_or_default();
    let prefers_chacha20 = prefers_chacha20(suites);
    Ok(ClientHello { server_name, ignored_name, refused: None, prefers_chacha20 })
}

/// Whether ChaCha20 is first in a list of cipher suites, but for GREASE (RFC 8701), which is not a
/// suite.
fn prefers_chacha20(suites: &[u8]) -> bool {
    let (suites, _) = suites.as_chunks();
    let mut suites = suites.iter().map(|suite| u16::from_be_bytes(*suite));
    let is_suite = |suite: &u16| suite & 0x0F0F != 0x0A0A || suite >> 8 != suite & 0xFF;
    suites.find(is_suite).is_some_and(|suite| CHACHA20.contains(&suite))
}

/// The content of the extension in what follows the compression methods.
fn server_name_extension(mut rest: HelloReader<'_>) -> Result<Option<&[u8]>, FieldTooLong> {
    if rest.0.is_empty() {
        // Before TLS 1.3, the extensions may be absent (RFC 5246, section 7.4.1.2).
        return Ok(None);
    }
    let mut extensions = HelloReader(rest.vector(2)?);
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

/// A host name, and what is there instead of one.
type RequestedName = (Option<Box<str>>, Option<Box<str>>);

/// What the extension asks for. Neither, if it is malformed or has several names.
fn requested_name(extension: &[u8]) -> Result<RequestedName, FieldTooLong> {
    let mut names = HelloReader(HelloReader(extension).vector(2)?);
    let is_host = names.number(1)? == HOST_NAME;
    let bytes = names.vector(2)?;
    if !is_host || bytes.is_empty() {
        return Ok((None, None));
    }
    // Without the dot of a fully qualified name, which RFC 6066 forbids and some clients send.
    Ok(match DnsName::try_from(bytes) {
        Ok(name) => (Some(without_dot(name.as_ref()).to_ascii_lowercase().into()), None),
        Err(_) if names.0.is_empty() => (None, Some(printable(&String::from_utf8_lossy(bytes)))),
        Err(_) => (None, None),
    })
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// The beginning of a text, for the log.
fn printable(text: &str) -> Box<str> {
    let shortened = text.chars().take(MAX_IGNORED_CHARS);
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    shortened.map(shown).collect::<String>().into()
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
