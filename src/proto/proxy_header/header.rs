//! The content of a PROXY header, in either version, and the reasons for which it is invalid.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::proto::TlsFacts;

/// The longest header that is accepted, in bytes. Version 2 allows 65,551; everything that it
/// defines fits in a fraction of this limit: addresses (232, with the fixed part), a host (255), a
/// protocol (255), a unique ID (128), a common name (64 by X.520), names of version and cipher. The
/// rest is room for vendors' TLVs.
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

/// The result of parsing the first bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderProgress {
    /// More bytes are needed; [`MAX_HEADER_BYTES`] bytes suffice in total.
    Incomplete,
    /// The header took `len` bytes; the client's bytes follow.
    Complete { header: Header, len: usize },
}

/// Why a PROXY header is invalid, explained for an operator.
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

/// Maps IPv4 to IPv6, as a header has one family for both addresses (RFC 4291, section 2.5.5.2).
pub(super) fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
