//! The fields of a ClientHello.

use rustls::pki_types::DnsName;

use super::ClientHello;

/// The extension, and the only type of name in it (RFC 6066, section 3).
const SERVER_NAME: usize = 0;
const HOST_NAME: usize = 0;

/// The length of the version and the random bytes (RFC 8446, section 4.1.2).
const VERSION_AND_RANDOM_BYTES: usize = 2 + 32;

/// TLS 1.3's (RFC 8446, appendix B.4), then those of TLS 1.2 with ephemeral keys (RFC 7905).
const CHACHA20: [u16; 4] = [0x1303, 0xCCA8, 0xCCA9, 0xCCAA];

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
    let server_name = server_name_extension(hello)?.and_then(host_name);
    Ok(ClientHello { server_name, prefers_chacha20: prefers_chacha20(suites) })
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
