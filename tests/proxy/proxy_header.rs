//! PROXY headers, made by hand.

use std::net::{IpAddr, SocketAddr};

pub(crate) const SIGNATURE: &[u8] = b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A";

/// What 192.0.2.1 is said to have connected to.
pub(crate) const DESTINATION: &str = "198.51.100.2:8883";

pub(crate) fn v1(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination): (SocketAddr, SocketAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into()
}

/// A header of any command and family, whose length is that of the rest.
pub(crate) fn raw_v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &len, rest].concat()
}

pub(crate) fn v2(source: &str, destination: &str, tlvs: &[u8]) -> Vec<u8> {
    let (source, destination): (SocketAddr, SocketAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let block = [octets(source.ip()), octets(destination.ip()), ports, tlvs.to_vec()].concat();
    raw_v2(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &block)
}

pub(crate) fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

/// What a TLS connection is said to have been, with its certificate's common name.
pub(crate) fn ssl(version: &str, common_name: &str, cipher: &str) -> Vec<u8> {
    let fixed = [7, 0, 0, 0, 0];
    let [version, name, cipher] = [(0x21, version), (0x22, common_name), (0x23, cipher)]
        .map(|(kind, text)| tlv(kind, text.as_bytes()));
    tlv(0x20, &[&fixed[..], &version, &name, &cipher].concat())
}

/// Adds a checksum to a header of version 2.
pub(crate) fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    let len = (header.len() - 16 + 7) as u16;
    header[14..16].copy_from_slice(&len.to_be_bytes());
    header.extend(b"\x03\x00\x04\0\0\0\0");
    let sum = crc32c(&header).to_be_bytes();
    let at = header.len() - 4;
    header[at..].copy_from_slice(&sum);
    header
}

/// A bit at a time (RFC 4960, appendix B).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0x82F6_3B78 } else { sum >> 1 }
        })
    })
}
