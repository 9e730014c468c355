//! Reads a packet's fields in order, and cannot read outside the packet.

use std::{borrow::Cow, fmt::Write, num::NonZeroU32, ops::Range};

use super::{malformed::Malformed, strictness::Tolerance};

/// The position of a string or of Binary Data in its packet, without the length that precedes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Never 0, as a length precedes it; an optional span takes no more room then.
    start: NonZeroU32,
    len: u32,
}

impl Span {
    /// The text, given the packet that it was parsed from. Any other bytes give the text at that
    /// position, or "" if it is not valid.
    pub fn of(self, packet: &[u8]) -> &str {
        packet.get(self.range()).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// As [`Span::of`], but a string that is not UTF-8 has `\xHH` in place of each invalid byte, so
    /// that two client IDs which differ there stay apart.
    pub fn text(self, packet: &[u8]) -> Cow<'_, str> {
        let bytes = packet.get(self.range()).unwrap_or_default();
        if let Ok(text) = str::from_utf8(bytes) {
            return text.into();
        }
        let mut text = String::with_capacity(bytes.len() + 16);
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                // Writing to memory cannot fail.
                let _ = write!(text, "\\x{byte:02X}");
            }
        }
        text.into()
    }

    /// The offsets of the bytes from the start of the packet.
    pub const fn range(self) -> Range<usize> {
        self.start.get() as usize..self.start.get() as usize + self.len as usize
    }

    /// As [`Span::range`], with the two bytes of the length before it.
    pub(super) const fn field_range(self) -> Range<usize> {
        (self.start.get() as usize).saturating_sub(2)..self.range().end
    }

    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// A variable byte integer (5.0 §1.5.5), such as the remaining length (3.1.1 §2.2.3).
#[derive(Clone, Copy)]
pub(super) struct Varint {
    pub(super) value: u32,
    /// Whether it is in its shortest form.
    pub(super) minimal: bool,
}

/// A position in a packet, and the packet up to where reading must stop.
#[derive(Clone, Copy)]
pub(super) struct PacketReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> PacketReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The offset of the next byte from the start of the packet.
    pub(super) const fn position(&self) -> usize {
        self.position
    }

    /// The offset at which reading stops.
    pub(super) const fn end(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes are left to read.
    pub(super) const fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = rest.get(..len).ok_or(Malformed::Truncated)?;
        self.position += len;
        Ok(taken)
    }

    /// A reader of the next `len` bytes, which this one skips; positions stay those of the packet.
    pub(super) fn sub(&mut self, len: usize) -> Result<Self, Malformed> {
        let position = self.position;
        self.take(len)?;
        let bytes = self.bytes.get(..self.position).ok_or(Malformed::Truncated)?;
        Ok(Self { bytes, position })
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// A Two Byte Integer, big-endian (5.0 §1.5.2).
    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// A Four Byte Integer, big-endian (5.0 §1.5.3).
    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Seven bits per byte, the lowest first; the top bit means that another byte follows, up to
    /// four.
    pub(super) fn varint(&mut self) -> Result<Varint, Malformed> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                // A last byte of zero means that a shorter form exists.
                return Ok(Varint { value, minimal: shift == 0 || byte != 0 });
            }
        }
        Err(Malformed::Varint)
    }

    /// Binary Data: a two-byte length, then that many bytes (5.0 §1.5.6).
    pub(super) fn binary(&mut self) -> Result<Span, Malformed> {
        let len = self.u16()?;
        let start = NonZeroU32::new(self.position as u32).ok_or(Malformed::Truncated)?;
        self.take(usize::from(len))?;
        Ok(Span { start, len: u32::from(len) })
    }

    /// A UTF-8 Encoded String (3.1.1 §1.5.3, 5.0 §1.5.4); `field` names it in errors.
    pub(super) fn string(
        &mut self,
        field: &'static str,
        tolerance: &mut Tolerance,
    ) -> Result<Span, Malformed> {
        let span = self.binary()?;
        let bytes = self.bytes.get(span.range()).unwrap_or_default();
        // Rust's UTF-8 excludes surrogates too [MQTT-1.5.4-1].
        if str::from_utf8(bytes).is_err() {
            tolerance.note(Malformed::Utf8(field))?;
        }
        // [MQTT-1.5.4-2], and [MQTT-1.5.3-2] of 3.1.1. Other control characters are merely
        // discouraged: brokers decide about them.
        if bytes.contains(&0) {
            tolerance.note(Malformed::Nul(field))?;
        }
        Ok(span)
    }

    /// Skips `expected`; `None` as soon as one byte differs.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if the packet ends before that.
    pub(super) fn literal(&mut self, expected: &[u8]) -> Result<Option<()>, Malformed> {
        for &byte in expected {
            if self.u8()? != byte {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Truncated)
    }
}
