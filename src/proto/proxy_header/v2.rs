//! Version 2: a fixed part of 16 bytes, addresses by family, and TLVs.

use std::net::{IpAddr, SocketAddr};

use super::{
    header::{Header, HeaderAddresses, HeaderError, HeaderProgress, MAX_HEADER_BYTES, as_v6},
    tlv::{self, Tlvs},
};
use crate::proto::TlsFacts;

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of the fixed part: signature; version and command; family and transport; length of the
/// rest.
const FIXED_BYTES: usize = 16;

/// Version 2 with either of its two commands.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPEC: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Parses a header that begins with [`SIGNATURE`].
pub(super) fn parse(bytes: &[u8]) -> Result<HeaderProgress, HeaderError> {
    let Some((fixed, _)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(HeaderProgress::Incomplete);
    };
    let [.., command, family, high, low] = *fixed;
    if !matches!(command, LOCAL | PROXY) {
        return Err(HeaderError::Command(command));
    }
    let len = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLong { len });
    }
    // The sender's own connection: the rest of the header must be discarded.
    let rest = if command == LOCAL { len } else { FIXED_BYTES + addresses_len(family)? };
    if rest > len {
        return Err(HeaderError::NoRoomForAddresses);
    }
    let Some(whole) = bytes.get(..len) else { return Ok(HeaderProgress::Incomplete) };
    let header = match command {
        LOCAL => Header::default(),
        _ => proxied(whole, family, rest)?,
    };
    Ok(HeaderProgress::Complete { header, len })
}

fn addresses_len(family: u8) -> Result<usize, HeaderError> {
    // The low half is the transport: UNSPEC, STREAM or DGRAM.
    match (family >> 4, family & 0x0F) {
        (0, 0..=2) => Ok(0),
        (1, 0..=2) => Ok(2 * (4 + 2)),
        (2, 0..=2) => Ok(2 * (16 + 2)),
        // AF_UNIX: two paths.
        (3, 0..=2) => Ok(2 * 108),
        _ => Err(HeaderError::Family(family)),
    }
}

fn proxied(whole: &[u8], family: u8, rest: usize) -> Result<Header, HeaderError> {
    let block = whole.get(FIXED_BYTES..rest).unwrap_or_default();
    // Valid families that no TCP client has count as UNSPEC (section 2.2).
    let addresses = match family {
        TCP_OVER_IPV4 => pair::<4>(block),
        TCP_OVER_IPV6 => pair::<16>(block),
        _ => None,
    };
    let (tls, unique_id) = tlv::read(whole, rest)?;
    Ok(Header { addresses, tls, unique_id })
}

/// Two addresses of `N` bytes, and their ports.
fn pair<const N: usize>(block: &[u8]) -> Option<HeaderAddresses>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    let address = |ip, port| SocketAddr::new(IpAddr::from(ip), u16::from_be_bytes(port));
    Some(HeaderAddresses::new(
        address(*source, *source_port),
        address(*destination, *destination_port),
    ))
}

/// The TLVs of a complete header, which [`parse`] has accepted; empty for the sender's own
/// connection.
pub(super) fn tlvs(header: &[u8]) -> Tlvs<'_> {
    let next = match header.get(SIGNATURE.len()..FIXED_BYTES) {
        Some([PROXY, family, ..]) => addresses_len(*family).map(|len| FIXED_BYTES + len),
        _ => Ok(header.len()),
    };
    Tlvs { bytes: header, next: next.unwrap_or(header.len()) }
}

pub(super) fn write<'a>(
    addresses: Option<HeaderAddresses>,
    tls: Option<&TlsFacts>,
    unique_id: &[u8],
    passed: impl IntoIterator<Item = (u8, &'a [u8])>,
) -> Vec<u8> {
    let (family, block) = match addresses.map(|of| (of, of.source.ip(), of.destination.ip())) {
        None => (UNSPEC, Vec::new()),
        Some((of, IpAddr::V4(from), IpAddr::V4(to))) => {
            (TCP_OVER_IPV4, block(&from.octets(), &to.octets(), of))
        }
        Some((of, from, to)) => {
            (TCP_OVER_IPV6, block(&as_v6(from).octets(), &as_v6(to).octets(), of))
        }
    };
    let max_bytes = MAX_HEADER_BYTES - FIXED_BYTES - block.len() - tlv::CHECKSUM_BYTES;
    let rest = tlv::write(tls, unique_id, passed, max_bytes);
    let len = (block.len() + rest.len() + tlv::CHECKSUM_BYTES) as u16;
    let header = [SIGNATURE, &[PROXY, family], &len.to_be_bytes(), &block, &rest].concat();
    tlv::with_checksum(header)
}

fn block(source: &[u8], destination: &[u8], of: HeaderAddresses) -> Vec<u8> {
    let ports = [of.source.port().to_be_bytes(), of.destination.port().to_be_bytes()];
    [source, destination, &ports.concat()].concat()
}
