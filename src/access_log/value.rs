//! Writes the value of a field, as JSON or text.
//!
//! Handwritten, because every session renders two lines: with serde_json a line took more than
//! twice as long.

use std::{
    fmt::Display,
    io::Write,
    net::{IpAddr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use super::entry::DialledAddress;
use crate::{
    escape::is_unsafe,
    proto::{CertificateFacts, proxy_header::KeptTlvs},
};

/// The most bytes of a written value, so that no peer controls the length of a line. Client IDs
/// that brokers accept are shorter.
pub(super) const MAX_VALUE_BYTES: usize = 4096;

const LOWER_CASE: &[u8; 16] = b"0123456789abcdef";

/// The value of a field; the variant decides how it is written.
#[derive(Clone, Copy)]
pub(super) enum LogValue<'e> {
    /// From a client, a broker or the configuration: always escaped.
    Text(&'e str),
    /// A fixed text of the proxy: never escaped.
    Name(&'e str),
    Number(u64),
    Flag(bool),
    Id(u64),
    Millis(Duration),
    Address(SocketAddr),
    Ip(IpAddr),
    Dialled(DialledAddress<'e>),
    /// The subject alternative names of a certificate, separated by spaces, which none of them has.
    AlternativeNames(&'e CertificateFacts),
    /// A JSON object; in text, pairs separated by spaces.
    ProxyTlvs(&'e KeptTlvs),
}

impl LogValue<'_> {
    /// Appends a JSON value (RFC 8259).
    ///
    /// Inlined, so that only the branch of a field's kind is left in the code.
    #[expect(clippy::inline_always, reason = "a call per field would dominate the line")]
    #[inline(always)]
    pub(super) fn write_json(self, out: &mut Vec<u8>) {
        let is_bare =
            matches!(self, Self::Number(_) | Self::Flag(_) | Self::Millis(_) | Self::ProxyTlvs(_));
        if !is_bare {
            out.push(b'"');
        }
        self.write(Escape::Json, out);
        if !is_bare {
            out.push(b'"');
        }
    }

    /// Appends the value of a template's variable. A text that is `-` is escaped, so that it
    /// differs from an unknown field.
    pub(super) fn write_text(self, out: &mut Vec<u8>) {
        match self {
            Self::Text("-") => out.extend_from_slice(br"\x2D"),
            _ => self.write(Escape::Text, out),
        }
    }

    #[expect(clippy::inline_always, reason = "see `write_json`")]
    #[inline(always)]
    fn write(self, escape: Escape, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => escape.write_truncated(text, out),
            Self::Name(name) => out.extend_from_slice(name.as_bytes()),
            Self::Number(number) => decimal(number, out),
            Self::Flag(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
            Self::Id(id) => hex::<16>(id, LOWER_CASE, out),
            Self::Millis(duration) => millis(duration, out),
            Self::Address(SocketAddr::V4(to))
            | Self::Dialled(DialledAddress::Ip(SocketAddr::V4(to))) => {
                ipv4(to, out);
            }
            Self::Address(address) | Self::Dialled(DialledAddress::Ip(address)) => {
                // Writing to memory cannot fail.
                let _ = write!(out, "{address}");
            }
            Self::Ip(ip) => {
                // Writing to memory cannot fail.
                let _ = write!(out, "{}", ip.to_canonical());
            }
            Self::Dialled(DialledAddress::Unix(path)) => {
                out.extend_from_slice(b"unix:");
                escape.write_truncated(&path.to_string_lossy(), out);
            }
            Self::AlternativeNames(certificate) => {
                let names: Vec<_> = certificate.alternative_names().collect();
                escape.write_truncated(&names.join(" "), out);
            }
            Self::ProxyTlvs(tlvs) => escape.write_tlvs(tlvs, out),
        }
    }
}

/// How untrusted text is escaped.
#[derive(Clone, Copy)]
pub(super) enum Escape {
    /// `\"`, `\\` and `\u00hh`: what JSON requires, and every character that [`is_unsafe`].
    Json,
    /// `\xHH` like nginx, and `\uHHHH` like JSON outside ASCII; quotes and brackets too, because
    /// they enclose values.
    Text,
    /// Between a template's variables: only line breaks and other unsafe characters are escaped.
    Literal,
}

impl Escape {
    pub(super) fn write(self, text: &str, out: &mut Vec<u8>) {
        text.chars().for_each(|c| self.put(c, out));
    }

    /// Writes at most [`MAX_VALUE_BYTES`]: a longer text is cut between two characters, followed by
    /// `…` and the number of missing bytes.
    fn write_truncated(self, text: &str, out: &mut Vec<u8>) {
        // Most texts need no escaping.
        if text.len() <= MAX_VALUE_BYTES && text.bytes().all(is_plain) {
            return out.extend_from_slice(text.as_bytes());
        }
        let start = out.len();
        for (at, c) in text.char_indices() {
            let before = out.len();
            self.put(c, out);
            if out.len() - start > MAX_VALUE_BYTES {
                out.truncate(before);
                out.extend_from_slice("…(+".as_bytes());
                decimal((text.len() - at) as u64, out);
                return out.extend_from_slice(b" bytes)");
            }
        }
    }

    /// Writes types and values; TLVs that would make it longer than [`MAX_VALUE_BYTES`] are counted
    /// with those that were not kept.
    fn write_tlvs(self, tlvs: &KeptTlvs, out: &mut Vec<u8>) {
        let is_json = matches!(self, Self::Json);
        let (quote, assign, separator) = if is_json { ("\"", ":", ",") } else { ("", "=", " ") };
        let put = |name: &dyn Display, value: &dyn Display, to: &mut Vec<u8>| {
            let separator = if to.len() > 1 { separator } else { "" };
            // Writing to memory cannot fail.
            let _ = write!(to, "{separator}{quote}{name}{quote}{assign}{value}");
        };
        let mut omitted = tlvs.omitted();
        let mut written = if is_json { b"{".to_vec() } else { Vec::new() };
        for (kind, value) in tlvs.iter() {
            let mut text = Vec::new();
            match str::from_utf8(value) {
                Ok(value) if value.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                    self.write(value, &mut text);
                }
                _ => value.iter().for_each(|byte| hex::<2>((*byte).into(), LOWER_CASE, &mut text)),
            }
            if written.len() + text.len() > MAX_VALUE_BYTES {
                omitted += 1;
                continue;
            }
            let text = String::from_utf8_lossy(&text);
            put(&format_args!("{kind:#04X}"), &format_args!("{quote}{text}{quote}"), &mut written);
        }
        if omitted > 0 {
            put(&"omitted", &omitted, &mut written);
        }
        out.append(&mut written);
        if is_json {
            out.push(b'}');
        }
    }

    fn put(self, c: char, out: &mut Vec<u8>) {
        match self {
            _ if !self.applies_to(c) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Self::Json if matches!(c, '"' | '\\') => out.extend_from_slice(&[b'\\', c as u8]),
            Self::Text | Self::Literal if c.is_ascii() => {
                out.extend_from_slice(br"\x");
                hex::<2>(u64::from(c), b"0123456789ABCDEF", out);
            }
            Self::Json => utf16(c, LOWER_CASE, out),
            Self::Text | Self::Literal => utf16(c, b"0123456789ABCDEF", out),
        }
    }

    fn applies_to(self, c: char) -> bool {
        match self {
            Self::Json => is_unsafe(c) || matches!(c, '"' | '\\'),
            Self::Text => is_unsafe(c) || matches!(c, '"' | '\\' | '[' | ']'),
            Self::Literal => is_unsafe(c) && c != '\t',
        }
    }
}

/// Printable ASCII that no format escapes.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'[' | b']')
}

/// `\uHHHH`, twice for a character beyond U+FFFF.
fn utf16(c: char, digits: &[u8; 16], out: &mut Vec<u8>) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(br"\u");
        hex::<4>(u64::from(*unit), digits, out);
    }
}

fn decimal(mut number: u64, out: &mut Vec<u8>) {
    // `u64::MAX` has 20 digits.
    let mut digits = [0; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// The last `N` hexadecimal digits.
fn hex<const N: usize>(number: u64, digits: &[u8; 16], out: &mut Vec<u8>) {
    let mut text = [0; N];
    for (at, digit) in text.iter_mut().rev().enumerate() {
        *digit = digits[(number >> (4 * at)) as usize & 0xf];
    }
    out.extend_from_slice(&text);
}

/// Milliseconds with three decimals.
fn millis(duration: Duration, out: &mut Vec<u8>) {
    let micros = duration.as_micros() as u64;
    decimal(micros / 1000, out);
    let fraction = micros % 1000;
    let digit = |of: u64| b'0' + (of % 10) as u8;
    out.extend_from_slice(&[b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
}

fn ipv4(address: SocketAddrV4, out: &mut Vec<u8>) {
    // The longest is `255.255.255.255:`.
    let mut text = [0; 16];
    let mut used = 0;
    for (octet, separator) in address.ip().octets().into_iter().zip(*b"...:") {
        for (least, divisor) in [(100, 100), (10, 10), (0, 1)] {
            if octet >= least {
                text[used] = b'0' + octet / divisor % 10;
                used += 1;
            }
        }
        text[used] = separator;
        used += 1;
    }
    out.extend_from_slice(text.get(..used).unwrap_or_default());
    decimal(address.port().into(), out);
}
