//! Bans of addresses that the operator most likely needs.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::{
    limits::{Ban, BanTarget},
    snapshot::Snapshot,
    upstream::HostAddresses,
};

/// The most warnings in a response.
const MAX_WARNINGS: usize = 20;

/// Warnings about bans that include the address that the request comes from, a loopback address, or
/// a broker's. They do not keep the operator from it.
pub(super) fn warnings(bans: &[Ban], peer: Option<IpAddr>, snapshot: &Snapshot) -> Vec<String> {
    let brokers = broker_addresses(snapshot);
    let of = |ban: &Ban| match &ban.target {
        BanTarget::Ip(network) => {
            let what = needed_address(network, peer, &brokers)?;
            let value = ban.target.value();
            Some(format!("the ban of {value} includes {what}; `unban --ip {value}` ends it"))
        }
        BanTarget::ClientId(_) | BanTarget::Username(_) => None,
    };
    bans.iter().filter_map(of).take(MAX_WARNINGS).collect()
}

/// The address in a network that the operator most likely needs.
fn needed_address(
    network: &IpNet,
    peer: Option<IpAddr>,
    brokers: &HashSet<IpAddr>,
) -> Option<String> {
    const LOOPBACK: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if let Some(peer) = peer.filter(|peer| network.contains(&peer.to_canonical())) {
        return Some(format!("{peer}, the address that the request came from"));
    }
    if network.addr().is_loopback() || LOOPBACK.iter().any(|ip| network.contains(ip)) {
        return Some("loopback addresses: checks of this host, and balancers on it".to_owned());
    }
    let is_single = network.prefix_len() == network.max_prefix_len();
    let of_broker = if is_single {
        brokers.get(&network.addr())
    } else {
        brokers.iter().find(|ip| network.contains(*ip))
    };
    of_broker.map(|ip| format!("{ip}, the address of a broker"))
}

fn broker_addresses(snapshot: &Snapshot) -> HashSet<IpAddr> {
    let mut addresses = HashSet::new();
    for pool in &snapshot.pools {
        for overview in pool.overviews() {
            let endpoint = overview.member.broker.endpoint();
            if let Some(places) = endpoint.addresses() {
                addresses.insert(places.first().ip());
                addresses.extend(HostAddresses::others(&places).iter().map(|address| address.ip()));
            }
        }
    }
    addresses
}
