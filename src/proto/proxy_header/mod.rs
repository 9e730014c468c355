//! The PROXY header, versions 1 and 2, without I/O: a proxy sends it in front of a connection to name
//! the client. The standard is HAProxy's `proxy-protocol.txt`.

mod tlv;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::TlsFacts;

/// The longest header that is accepted, in bytes. Version 2 allows 65,551; all that it defines fits
/// in a fraction of this limit: addresses (232, with the fixed part), a host (255), a protocol (255),
/// a unique ID (128), a common name (64 by X.520), names of version and cipher. The rest is room for
/// vendors' TLVs.
pub const MAX_HEADER_BYTES: usize = 4096;

/// The content of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `None`: the connection is the sender's own (a health check), or that of a client without an
    /// address. Only the socket's peer is known then.
    pub addresses: Option<HeaderAddresses>,
    /// `None`: the header has no facts about TLS.
    pub tls: Option<TlsFacts>,
    /// The sender's ID of the connection: up to 128 arbitrary bytes.
    pub unique_id: Option<Box<[u8]>>,
}

/// Source and destination of a client's connection; IPv4 is never written as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderAddresses {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl HeaderAddresses {
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let canonical = |to: SocketAddr| SocketAddr::new(to.ip().to_canonical(), to.port());
        Self { source: canonical(source), destination: canonical(destination) }
    }
}

/// How far parsing got with the first bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderProgress {
    /// More bytes are needed; [`MAX_HEADER_BYTES`] bytes suffice in all.
    Incomplete,
    /// The header took `len` bytes; the client's bytes follow.
    Complete { header: Header, len: usize },
}

/// The version of the header that a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectedHeader {
    Absent,
    /// More bytes are needed.
    Undecided,
    V1,
    V2,
}

/// Why a PROXY header is invalid, in words for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("no PROXY header (first byte {0:#04x})")]
    Missing(u8),
    #[error("version 1: no CR LF within 107 bytes")]
    Line,
    #[error("version 1: unknown protocol; allowed: TCP4, TCP6, UNKNOWN")]
    Protocol,
    #[error("version 1: expected two addresses and two ports, each after one space")]
    Fields,
    #[error("version 1: an address does not match the protocol family")]
    Address,
    #[error("version 1: invalid port")]
    Port,
    #[error("unknown version and command {0:#04x}")]
    Command(u8),
    #[error("unknown address family and transport {0:#04x}")]
    Family(u8),
    #[error("its length of {len} bytes exceeds the limit of {MAX_HEADER_BYTES}")]
    TooLong { len: usize },
    #[error("too short for its addresses")]
    NoRoomForAddresses,
    #[error("a TLV runs past the end")]
    Truncated,
    #[error("duplicate TLV {0:#04x}")]
    Duplicate(u8),
    #[error("TLV {0:#04x} has an invalid length")]
    Length(u8),
    #[error("TLV {0:#04x} is not valid UTF-8")]
    Utf8(u8),
    #[error("the CRC-32C does not match")]
    Checksum,
}

/// Parses the header that a connection begins with. The result does not change when more bytes follow.
///
/// # Errors
/// As soon as the bytes show that the header is invalid: the connection has to be dropped.
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

/// A header of version 2 with a checksum; a client without addresses is of family UNSPEC.
///
/// `unique_id`: only the first 128 bytes are sent.
pub fn write_v2(
    addresses: Option<HeaderAddresses>,
    tls: Option<&TlsFacts>,
    unique_id: &[u8],
) -> Vec<u8> {
    v2::write(addresses, tls, unique_id)
}

/// A header of version 2 for a connection of the sender's own.
pub const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// Maps IPv4 to IPv6, as a header has one family for both addresses (RFC 4291, section 2.5.5.2).
fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
