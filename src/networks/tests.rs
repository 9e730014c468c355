use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::PrefixSet;

fn set(networks: &[&str]) -> PrefixSet {
    networks.iter().map(|network| network.parse::<IpNet>().unwrap()).collect()
}

fn contains(set: &PrefixSet, ip: &str) -> bool {
    set.contains(ip.parse().unwrap())
}

#[test]
fn edges_of_networks() {
    let networks = set(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "255.255.255.0/24"]);
    for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "255.255.255.255", "2001:db8::"] {
        assert!(contains(&networks, inside), "{inside}");
    }
    assert!(contains(&networks, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"));
    for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "::"] {
        assert!(!contains(&networks, outside), "{outside}");
    }
}

#[test]
fn all_addresses_and_none() {
    assert!(set(&[]).is_empty());
    assert!(!contains(&set(&[]), "0.0.0.0") && !contains(&set(&[]), "::"));
    let v4 = set(&["0.0.0.0/0", "10.0.0.0/8"]);
    assert!(contains(&v4, "0.0.0.0") && contains(&v4, "255.255.255.255"));
    assert!(!contains(&v4, "2001:db8::1"));
    let v6 = set(&["ff00::/8", "::/0"]);
    assert!(contains(&v6, "::") && contains(&v6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    assert!(!contains(&v6, "10.0.0.1"));
}

#[test]
fn ipv4_written_as_ipv6() {
    assert!(contains(&set(&["10.0.0.0/8"]), "::ffff:10.1.2.3"));
    assert!(!contains(&set(&["::/0"]), "::ffff:10.1.2.3"));
    assert!(contains(&set(&["::ffff:10.0.0.0/104"]), "10.1.2.3"));
}

/// Neighbours become one range, so a list that names every address of a network is as small as the
/// network.
#[test]
fn neighbours_are_merged() {
    let addresses = (0..=u8::MAX).map(|last| IpNet::from(IpAddr::from([10, 0, 0, last])));
    let merged: PrefixSet = addresses.collect();
    assert_eq!(merged, set(&["10.0.0.0/24"]));
    assert_eq!(merged.heap_bytes(), 8);
    assert_eq!(set(&["2001:db8::/33", "2001:db8:8000::/33", "2001:db8::1/128"]).heap_bytes(), 32);
}

/// Close together, so that networks overlap, touch and nest.
fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (0..2048_u32, 16..=32_u8)
        .prop_map(|(bits, prefix)| Ipv4Net::new_assert(bits.into(), prefix).trunc().into());
    let v6 = (0..2048_u128, 112..=128_u8)
        .prop_map(|(bits, prefix)| Ipv6Net::new_assert(bits.into(), prefix).trunc().into());
    prop_oneof![v4, v6]
}

fn address() -> impl Strategy<Value = IpAddr> {
    let near_v4 = (0..4096_u32).prop_map(|bits| IpAddr::V4(bits.into()));
    let near_v6 = (0..4096_u128).prop_map(|bits| IpAddr::V6(bits.into()));
    prop_oneof![near_v4, near_v6, any::<IpAddr>()]
}

proptest! {
    #[test]
    fn the_same_as_a_linear_search(
        networks in prop::collection::vec(network(), 0..40),
        addresses in prop::collection::vec(address(), 200),
    ) {
        let set: PrefixSet = networks.iter().copied().collect();
        for ip in addresses {
            let canonical = ip.to_canonical();
            let linear = networks.iter().any(|network| network.contains(&canonical));
            prop_assert_eq!(set.contains(ip), linear, "{}", ip);
        }
    }
}
