//! One field's value as bytes, in JSON or in text.
//!
//! Written by hand, as two lines are rendered in each session's life: with serde_json a line took
//! more than twice as long.

use std::{
    io::Write,
    net::{SocketAddr, SocketAddrV4},
    time::Duration,
};

use super::entry::DialledAddress;
use crate::{escape::is_unsafe, proto::mqtt::Malformed};

/// Bytes that one value takes at most, so that no peer makes a line as long as it likes. Brokers take
/// shorter client IDs.
pub(super) const LONGEST: usize = 4096;

/// A field's value, in the few shapes that are written differently.
#[derive(Clone, Copy)]
pub(super) enum Value<'e> {
    /// From a client, a broker or the configuration: escaped wherever it is written.
    Text(&'e str),
    /// One of our own words.
    Name(&'e str),
    Number(u64),
    Flag(bool),
    Id(u64),
    Millis(Duration),
    Address(SocketAddr),
    Dialled(DialledAddress<'e>),
    /// In words of our own.
    Malformed(&'e Malformed),
}

impl Value<'_> {
    /// Appends a JSON value (RFC 8259).
    ///
    /// Inlined, so that a field of a known kind takes only its own branch.
    #[expect(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn write_json(self, out: &mut Vec<u8>) {
        let is_bare = matches!(self, Self::Number(_) | Self::Flag(_) | Self::Millis(_));
        if !is_bare {
            out.push(b'"');
        }
        self.write(Escape::Json, out);
        if !is_bare {
            out.push(b'"');
        }
    }

    /// Appends what a template's variable stands for; a text that is `-` is not to be taken for an
    /// absent one.
    pub(super) fn write_text(self, out: &mut Vec<u8>) {
        match self {
            Self::Text("-") => out.extend_from_slice(br"\x2D"),
            _ => self.write(Escape::Text, out),
        }
    }

    #[expect(clippy::inline_always)]
    #[inline(always)]
    fn write(self, escape: Escape, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => escape.write_cut(text, out),
            Self::Name(name) => out.extend_from_slice(name.as_bytes()),
            Self::Number(number) => decimal(number, out),
            Self::Flag(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
            Self::Id(id) => hex::<16>(id, b"0123456789abcdef", out),
            Self::Millis(duration) => millis(duration, out),
            Self::Address(SocketAddr::V4(to))
            | Self::Dialled(DialledAddress::Ip(SocketAddr::V4(to))) => {
                ipv4(to, out);
            }
            Self::Address(address) | Self::Dialled(DialledAddress::Ip(address)) => {
                // Writing to memory cannot fail.
                let _ = write!(out, "{address}");
            }
            Self::Dialled(DialledAddress::Unix(path)) => {
                out.extend_from_slice(b"unix:");
                escape.write_cut(&path.to_string_lossy(), out);
            }
            Self::Malformed(fault) => {
                let _ = write!(out, "{fault}");
            }
        }
    }
}

/// How a text that is not ours is made harmless.
#[derive(Clone, Copy)]
pub(super) enum Escape {
    /// `\"`, `\\` and `\u00hh`: what JSON asks for, and every character that [`is_unsafe`].
    Json,
    /// `\xHH` as nginx does, and `\uHHHH` as JSON does outside of ASCII; quotes and brackets too, which
    /// enclose values.
    Text,
    /// What stands between a template's variables: only line breaks and the like are escaped.
    Literal,
}

impl Escape {
    pub(super) fn write(self, text: &str, out: &mut Vec<u8>) {
        text.chars().for_each(|c| self.put(c, out));
    }

    /// No more than [`LONGEST`] bytes of it: a text that takes more ends between two of its
    /// characters, with `…` and how many bytes of it are missing.
    fn write_cut(self, text: &str, out: &mut Vec<u8>) {
        // Most texts need no second look.
        if text.len() <= LONGEST && text.bytes().all(is_plain) {
            return out.extend_from_slice(text.as_bytes());
        }
        let start = out.len();
        for (at, c) in text.char_indices() {
            let before = out.len();
            self.put(c, out);
            if out.len() - start > LONGEST {
                out.truncate(before);
                out.extend_from_slice("…(+".as_bytes());
                decimal((text.len() - at) as u64, out);
                return out.extend_from_slice(b" bytes)");
            }
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
            Self::Json => utf16(c, b"0123456789abcdef", out),
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
    // The digits of `u64::MAX`.
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
    // `255.255.255.255:` is the longest.
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
