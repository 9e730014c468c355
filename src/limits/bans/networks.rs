//! Networks, found by an address in them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;

/// A value for each of many networks. A lookup takes one step for each prefix length in use, of
/// which there are few.
#[derive(Default)]
pub(super) struct NetworkMap {
    values: HashMap<IpNet, u64>,
    /// The number of networks by prefix length.
    ipv4_lengths: BTreeMap<u8, usize>,
    ipv6_lengths: BTreeMap<u8, usize>,
}

impl NetworkMap {
    pub(super) fn get(&self, network: &IpNet) -> Option<u64> {
        self.values.get(network).copied()
    }

    /// The values of all networks that contain an address, the smallest network first.
    pub(super) fn containing(&self, ip: IpAddr) -> impl Iterator<Item = u64> {
        let lengths = if ip.is_ipv4() { &self.ipv4_lengths } else { &self.ipv6_lengths };
        lengths.keys().rev().filter_map(move |length| {
            let network = IpNet::new(ip, *length).ok()?.trunc();
            self.get(&network)
        })
    }

    /// Adds a network that is not in the map.
    pub(super) fn insert(&mut self, network: IpNet, value: u64) {
        if self.values.insert(network, value).is_none() {
            *self.lengths(&network).entry(network.prefix_len()).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, network: &IpNet) {
        if self.values.remove(network).is_none() {
            return;
        }
        let length = network.prefix_len();
        let lengths = self.lengths(network);
        if let Some(count) = lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&length);
            }
        }
    }

    fn lengths(&mut self, network: &IpNet) -> &mut BTreeMap<u8, usize> {
        match network {
            IpNet::V4(_) => &mut self.ipv4_lengths,
            IpNet::V6(_) => &mut self.ipv6_lengths,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_network_comes_first() {
        let mut map = NetworkMap::default();
        let networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8"];
        for (value, network) in networks.iter().enumerate() {
            map.insert(network.parse().unwrap(), value as u64);
        }
        let of = |map: &NetworkMap, ip: &str| -> Vec<u64> {
            map.containing(ip.parse().unwrap()).collect()
        };
        assert_eq!(of(&map, "10.1.2.3"), [2, 1, 0, 3]);
        assert_eq!(of(&map, "10.2.2.3"), [0, 3]);
        assert_eq!(of(&map, "192.0.2.1"), [3]);
        assert_eq!(of(&map, "fd12::1"), [4]);
        assert_eq!(of(&map, "fe80::1"), [0; 0]);
        for network in &networks[..4] {
            map.remove(&network.parse().unwrap());
        }
        assert_eq!(of(&map, "10.1.2.3"), [0; 0]);
        assert!(map.ipv4_lengths.is_empty());
    }
}
