//! Version 1: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{Header, HeaderAddresses, HeaderError, HeaderProgress, as_v6};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The header for a client without an address.
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

/// The longest line, with its CR LF and what follows UNKNOWN (section 2.1).
const MAX_LINE_BYTES: usize = 107;

/// Parses a line that begins with [`SIGNATURE`].
pub(super) fn parse(bytes: &[u8]) -> Result<HeaderProgress, HeaderError> {
    let within = bytes.get(..MAX_LINE_BYTES).unwrap_or(bytes);
    let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
        let is_over = within.len() == MAX_LINE_BYTES;
        return if is_over { Err(HeaderError::Line) } else { Ok(HeaderProgress::Incomplete) };
    };
    let line =
        within.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(HeaderError::Line)?;
    let content = line.strip_prefix(SIGNATURE).ok_or(HeaderError::Line)?;
    let header = Header { addresses: addresses(content)?, ..Header::default() };
    Ok(HeaderProgress::Complete { header, len: end + 1 })
}

fn addresses(content: &[u8]) -> Result<Option<HeaderAddresses>, HeaderError> {
    // Anything after UNKNOWN must be ignored.
    if content == b"UNKNOWN" || content.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let content = str::from_utf8(content).map_err(|_| HeaderError::Fields)?;
    let (protocol, rest) = content.split_once(' ').unwrap_or((content, ""));
    let read_ip = match protocol {
        "TCP4" => |text: &str| text.parse::<Ipv4Addr>().map(IpAddr::V4),
        "TCP6" => |text: &str| text.parse::<Ipv6Addr>().map(IpAddr::V6),
        _ => return Err(HeaderError::Protocol),
    };
    let fields: Vec<&str> = rest.split(' ').collect();
    let [source, destination, source_port, destination_port] = fields[..] else {
        return Err(HeaderError::Fields);
    };
    let address = |ip: &str, of: &str| {
        let ip = read_ip(ip).map_err(|_| HeaderError::Address)?;
        Ok(SocketAddr::new(ip, port(of)?))
    };
    let source = address(source, source_port)?;
    Ok(Some(HeaderAddresses::new(source, address(destination, destination_port)?)))
}

fn port(text: &str) -> Result<u16, HeaderError> {
    // Rust's parser would accept a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(HeaderError::Port)
}

pub(super) fn write(addresses: Option<HeaderAddresses>) -> Vec<u8> {
    let Some(HeaderAddresses { source, destination }) = addresses else { return UNKNOWN.to_vec() };
    let (protocol, from, to) = match (source.ip(), destination.ip()) {
        (from @ IpAddr::V4(_), to @ IpAddr::V4(_)) => ("TCP4", from, to),
        (from, to) => ("TCP6", IpAddr::V6(as_v6(from)), IpAddr::V6(as_v6(to))),
    };
    let ports = format_args!("{} {}", source.port(), destination.port());
    format!("PROXY {protocol} {from} {to} {ports}\r\n").into_bytes()
}
