//! The unit in which limits per address count.

use std::net::{IpAddr, Ipv6Addr};

/// What a limit per address counts as one address: an IPv4 address, or an IPv6 network, because one
/// host has a whole network of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CountedAddress(IpAddr);

impl CountedAddress {
    pub(crate) fn new(address: IpAddr, ipv6_prefix: u8) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let host_bits = 128 - u32::from(ipv6_prefix.min(128));
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }

    /// The address, without the bits after its prefix.
    pub(super) fn ip(self) -> IpAddr {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(address: &str, prefix: u8) -> String {
        CountedAddress::new(address.parse().unwrap(), prefix).0.to_string()
    }

    #[test]
    fn ipv6_addresses_are_counted_by_their_network() {
        for (prefix, network) in [
            (1, "8000::"),
            (48, "fd00:1:2::"),
            (64, "fd00:1:2:3::"),
            (127, "fd00:1:2:3::6"),
            (128, "fd00:1:2:3::7"),
        ] {
            assert_eq!(counted("fd00:1:2:3::7", prefix), network);
        }
    }

    #[test]
    fn ipv4_addresses_are_counted_whole_however_they_are_written() {
        for prefix in [1, 64, 96, 128] {
            assert_eq!(counted("192.0.2.7", prefix), "192.0.2.7");
            assert_eq!(counted("::ffff:192.0.2.7", prefix), "192.0.2.7");
        }
    }
}
