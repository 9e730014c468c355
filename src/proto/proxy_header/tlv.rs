//! The TLVs that follow the addresses of version 2: type, length, value (section 2.2).

use std::borrow::Cow;

use super::header::HeaderError;
use crate::proto::{CertificateFacts, TlsFacts};

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;

/// Bits of the SSL TLV: the client connected with TLS; it presented a certificate on this
/// connection, or in this TLS session.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT: u8 = 0x02 | 0x04;

/// The longest unique ID (section 2.2.5).
const MAX_UNIQUE_ID_BYTES: usize = 128;

/// The longest value that is sent; longer ones are omitted. It is as long as a host or a protocol
/// can be, longer than a common name should be (64 by X.520), and short enough for receivers to
/// accept the header. A truncated name could be the name of another client.
const MAX_SENT_BYTES: usize = 255;

/// Bytes of the type and the length before each value.
const HEAD_BYTES: usize = 3;

/// Bytes of the TLV that [`with_checksum`] adds.
pub(super) const CHECKSUM_BYTES: usize = HEAD_BYTES + 4;

/// The facts about TLS, and the unique ID.
pub(super) type TlvContent = (Option<TlsFacts>, Option<Box<[u8]>>);

/// Reads the TLVs of a complete header, the first of which begins at `from`.
pub(super) fn read(header: &[u8], from: usize) -> Result<TlvContent, HeaderError> {
    let mut tls = TlsFacts::default();
    let (mut unique_id, mut checksum, mut ssl) = (None, None, None);
    for tlv in (Tlvs { bytes: header, next: from }) {
        let Tlv { kind, value, at } = tlv?;
        match kind {
            ALPN | AUTHORITY | UNIQUE_ID if value.is_empty() => {}
            ALPN => once(&mut tls.alpn, kind, value.into())?,
            AUTHORITY => once(&mut tls.sni, kind, text(kind, value)?.into())?,
            UNIQUE_ID if value.len() > MAX_UNIQUE_ID_BYTES => {
                return Err(HeaderError::Length(kind));
            }
            UNIQUE_ID => once(&mut unique_id, kind, value.into())?,
            CRC32C => {
                once(&mut checksum, kind, ())?;
                check(header, at, value)?;
            }
            SSL => {
                once(&mut ssl, kind, ())?;
                read_ssl(value, &mut tls)?;
            }
            // Such as NOOP, NETNS, and those of vendors.
            _ => {}
        }
    }
    let tls = (tls != TlsFacts::default()).then_some(tls);
    Ok((tls, unique_id))
}

/// Reads the bits about the client, the result of verifying its certificate, and nested TLVs.
fn read_ssl(value: &[u8], tls: &mut TlsFacts) -> Result<(), HeaderError> {
    let (&[client, ref verify @ ..], _) =
        value.split_first_chunk::<5>().ok_or(HeaderError::Length(SSL))?;
    let is_verified = client & CLIENT_SSL != 0 && client & CLIENT_CERT != 0 && *verify == [0; 4];
    let mut common_name = None;
    for tlv in (Tlvs { bytes: value, next: 5 }) {
        let Tlv { kind, value, .. } = tlv?;
        let owned = |value| Ok(Cow::Owned(text(kind, value)?.to_owned()));
        match kind {
            _ if client & CLIENT_SSL == 0 || value.is_empty() => {}
            SSL_VERSION => once(&mut tls.version, kind, owned(value)?)?,
            SSL_CIPHER => once(&mut tls.cipher, kind, owned(value)?)?,
            // The name in a certificate that was not verified proves nothing.
            SSL_CN if is_verified => once(&mut common_name, kind, text(kind, value)?)?,
            _ => {}
        }
    }
    tls.certificate = is_verified.then(|| {
        let common_name = common_name.filter(|name| !has_control(name)).map(Box::from);
        Box::new(CertificateFacts { common_name, ..CertificateFacts::default() })
    });
    Ok(())
}

/// The checksum covers the whole header, with its own bytes as zeros.
fn check(header: &[u8], at: usize, sum: &[u8]) -> Result<(), HeaderError> {
    let sum = <[u8; 4]>::try_from(sum).map_err(|_| HeaderError::Length(CRC32C))?;
    let (before, rest) = header.split_at_checked(at).ok_or(HeaderError::Truncated)?;
    let behind = rest.get(4..).unwrap_or_default();
    let counted = [before, &[0; 4], behind].into_iter().fold(0, crc32c::crc32c_append);
    if counted == u32::from_be_bytes(sum) { Ok(()) } else { Err(HeaderError::Checksum) }
}

/// Refuses a second value: it would be ambiguous which of the two counts.
fn once<T>(slot: &mut Option<T>, kind: u8, value: T) -> Result<(), HeaderError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeaderError::Duplicate(kind)),
    }
}

fn text(kind: u8, value: &[u8]) -> Result<&str, HeaderError> {
    str::from_utf8(value).map_err(|_| HeaderError::Utf8(kind))
}

/// Whether a text has a control character, such as NUL or a line feed.
fn has_control(text: &str) -> bool {
    text.contains(char::is_control)
}

pub(super) struct Tlv<'a> {
    pub(super) kind: u8,
    pub(super) value: &'a [u8],
    /// Where the value begins.
    at: usize,
}

/// The TLVs from `next` to the end.
pub(super) struct Tlvs<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) next: usize,
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.next..).filter(|rest| !rest.is_empty())?;
        let read = || {
            let (&[kind, high, low], rest) = rest.split_first_chunk::<HEAD_BYTES>()?;
            let value = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
            Some(Tlv { kind, value, at: self.next + HEAD_BYTES })
        };
        let tlv = read().ok_or(HeaderError::Truncated);
        self.next = tlv.as_ref().map_or(self.bytes.len(), |tlv| tlv.at + tlv.value.len());
        Some(tlv)
    }
}

/// Writes all TLVs except for the checksum: those of the proxy itself, then as many of `passed` as
/// there is room for in `max_bytes`.
pub(super) fn write<'a>(
    tls: Option<&TlsFacts>,
    unique_id: &[u8],
    passed: impl IntoIterator<Item = (u8, &'a [u8])>,
    max_bytes: usize,
) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(tls) = tls {
        put(&mut out, ALPN, tls.alpn.as_deref());
        put(&mut out, AUTHORITY, tls.sni.as_deref().map(str::as_bytes));
    }
    let unique_id = unique_id.get(..MAX_UNIQUE_ID_BYTES).unwrap_or(unique_id);
    put(&mut out, UNIQUE_ID, Some(unique_id));
    if let Some(tls) = tls
        && (tls.version.is_some() || tls.cipher.is_some() || tls.certificate.is_some())
    {
        push(&mut out, SSL, &ssl(tls));
    }
    for (kind, value) in passed {
        if out.len() + HEAD_BYTES + value.len() <= max_bytes {
            push(&mut out, kind, value);
        }
    }
    out
}

fn ssl(tls: &TlsFacts) -> Vec<u8> {
    let has_certificate = tls.certificate.is_some();
    let client = CLIENT_SSL | if has_certificate { CLIENT_CERT } else { 0 };
    let mut out = vec![client];
    out.extend(u32::from(!has_certificate).to_be_bytes());
    put(&mut out, SSL_VERSION, tls.version.as_deref().map(str::as_bytes));
    // EMQX refuses a header whose common name has one, which would count as the broker's fault.
    let common_name = tls.common_name().filter(|name| !has_control(name));
    put(&mut out, SSL_CN, common_name.map(str::as_bytes));
    put(&mut out, SSL_CIPHER, tls.cipher.as_deref().map(str::as_bytes));
    out
}

/// Appends a TLV, unless its value is absent, empty or too long.
fn put(out: &mut Vec<u8>, kind: u8, value: Option<&[u8]>) {
    let sent = 1..=MAX_SENT_BYTES;
    if let Some(value) = value.filter(|value| sent.contains(&value.len())) {
        push(out, kind, value);
    }
}

fn push(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push(kind);
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
}

/// Appends the checksum to a header whose length already includes it.
pub(super) fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    header.extend([CRC32C, 0, 4]);
    let sum = crc32c::crc32c_append(crc32c::crc32c(&header), &[0; 4]);
    header.extend(sum.to_be_bytes());
    header
}
