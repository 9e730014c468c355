//! The PROXY header, versions 1 and 2, without I/O: a proxy sends it in front of a connection to
//! name the client. The standard is HAProxy's `proxy-protocol.txt`.

mod header;
mod kept_tlvs;
mod tlv;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

pub(crate) use header::HeaderAddresses;
pub use header::{Header, HeaderError, HeaderProgress, MAX_HEADER_BYTES};
pub(crate) use kept_tlvs::KeptTlvs;

use super::TlsFacts;

/// The version of the header that a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectedHeader {
    Absent,
    /// More bytes are needed.
    Undecided,
    V1,
    V2,
}

/// Parses the header that a connection begins with. The result does not change when more bytes
/// follow.
///
/// # Errors
/// As soon as the bytes show that the header is invalid: the connection must be closed.
pub fn parse(bytes: &[u8]) -> Result<HeaderProgress, HeaderError> {
    match detect(bytes) {
        DetectedHeader::Absent => {
            Err(HeaderError::Missing(bytes.first().copied().unwrap_or_default()))
        }
        DetectedHeader::Undecided => Ok(HeaderProgress::Incomplete),
        DetectedHeader::V1 => v1::parse(bytes),
        DetectedHeader::V2 => v2::parse(bytes),
    }
}

/// Detects whether a connection begins with a header, valid or not.
pub fn detect(bytes: &[u8]) -> DetectedHeader {
    let begins = |signature: &[u8]| {
        let len = signature.len().min(bytes.len());
        bytes.get(..len) == signature.get(..len)
    };
    match (begins(v1::SIGNATURE), begins(v2::SIGNATURE)) {
        (true, _) if bytes.len() >= v1::SIGNATURE.len() => DetectedHeader::V1,
        (_, true) if bytes.len() >= v2::SIGNATURE.len() => DetectedHeader::V2,
        (false, false) => DetectedHeader::Absent,
        _ => DetectedHeader::Undecided,
    }
}

/// A header of version 1; a client without addresses is UNKNOWN.
pub fn write_v1(addresses: Option<HeaderAddresses>) -> Vec<u8> {
    v1::write(addresses)
}

/// The TLVs of these types in a complete, valid header; `None` if it has none of them.
pub(crate) fn keep_tlvs(header: &[u8], types: &[u8]) -> Option<Box<KeptTlvs>> {
    let is_v2 = !types.is_empty() && detect(header) == DetectedHeader::V2;
    if is_v2 { KeptTlvs::of(v2::tlvs(header), types) } else { None }
}

/// A header of version 2 with a checksum; a client without addresses is of family UNSPEC.
///
/// `unique_id`: only the first 128 bytes are sent. `passed`: types and values of TLVs that the
/// facts do not include; those beyond [`MAX_HEADER_BYTES`] are left out.
pub fn write_v2<'a>(
    addresses: Option<HeaderAddresses>,
    tls: Option<&TlsFacts>,
    unique_id: &[u8],
    passed: impl IntoIterator<Item = (u8, &'a [u8])>,
) -> Vec<u8> {
    v2::write(addresses, tls, unique_id, passed)
}

/// A header of version 2 for the sender's own connection.
pub(crate) const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
