//! The PROXY header, versions 1 and 2, without sockets: what a proxy puts in front of a connection
//! to say whose it is. The standard is HAProxy's `proxy-protocol.txt`.

mod tlv;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::TlsFacts;

/// The longest header that is read, in bytes. Version 2 could say up to 65,551; all that it has
/// names for fits in a fraction of this: addresses (232, with the fixed part), a host (255), a
/// protocol (255), a unique ID (128), a common name (64 by X.520), names of version and cipher. The
/// rest is room for what vendors add.
pub const MAX_HEADER_BYTES: usize = 4096;

/// What a header says of the connection that it stands in front of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `None`: the connection is the sender's own (a health check), or that of a client without an
    /// address, so that the socket's peer is all that is known.
    pub addresses: Option<HeaderAddresses>,
    /// `None`: nothing was said of TLS.
    pub tls: Option<TlsFacts>,
    /// What the sender calls the connection: up to 128 bytes of any kind.
    pub unique_id: Option<Box<[u8]>>,
}

/// From where to where a client connected; IPv4 is never written as IPv6.
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

/// How far the first bytes of a connection got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderProgress {
    /// More is needed. There is room for it in [`MAX_HEADER_BYTES`] bytes.
    Incomplete,
    /// `len` bytes were the header's; what is behind them is the client's.
    Complete { header: Header, len: usize },
}

/// Which header the first bytes of a connection announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectedHeader {
    Absent,
    /// There are too few of them to say.
    Undecided,
    V1,
    V2,
}

/// Why bytes are no PROXY header, in words for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("no PROXY header (first byte {0:#04x})")]
    Missing(u8),
    #[error("a line of version 1 ends in CR LF within 107 bytes")]
    Line,
    #[error("version 1 knows TCP4, TCP6 and UNKNOWN")]
    Protocol,
    #[error("a line of version 1 has two addresses and two ports, with one space before each")]
    Fields,
    #[error("version 1 has an address that is none of its family")]
    Address,
    #[error("version 1 has a port that is no number up to 65535")]
    Port,
    #[error("there is no version and command {0:#04x}")]
    Command(u8),
    #[error("there is no family and transport {0:#04x}")]
    Family(u8),
    #[error("the {len} bytes of the header are over the limit of {MAX_HEADER_BYTES}")]
    TooLong { len: usize },
    #[error("the length leaves no room for the addresses")]
    NoRoomForAddresses,
    #[error("a TLV runs past the end of the header")]
    Truncated,
    #[error("TLV {0:#04x} is there twice")]
    Duplicate(u8),
    #[error("TLV {0:#04x} has a length that is not allowed")]
    Length(u8),
    #[error("TLV {0:#04x} is not valid UTF-8")]
    Utf8(u8),
    #[error("the CRC-32C is wrong")]
    Checksum,
}

/// Reads the header that a connection begins with. Bytes that come to it once more, with others
/// behind them, get the same verdict.
///
/// # Errors
/// What is wrong, as soon as it shows: the connection is to be dropped.
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

/// Whether a connection begins with a header, good or bad.
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
/// `unique_id` is up to 128 bytes, of which no more are sent.
pub fn write_v2(
    addresses: Option<HeaderAddresses>,
    tls: Option<&TlsFacts>,
    unique_id: &[u8],
) -> Vec<u8> {
    v2::write(addresses, tls, unique_id)
}

/// What version 2 has for a connection of the sender's own.
pub const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// An address beside one of IPv6: a header has one family for both (RFC 4291, section 2.5.5.2).
fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
