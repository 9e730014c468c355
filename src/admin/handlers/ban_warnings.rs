//! Bans of addresses that the operator most likely needs.

use std::{collections::HashSet, net::IpAddr};

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
        BanTarget::Ip(network) => warning(network, peer, &brokers),
        BanTarget::ClientId(_) | BanTarget::Username(_) => None,
    };
    bans.iter().filter_map(of).take(MAX_WARNINGS).collect()
}

fn warning(network: &IpNet, peer: Option<IpAddr>, brokers: &HashSet<IpAddr>) -> Option<String> {
    let what = if let Some(peer) = peer.filter(|peer| network.contains(&peer.to_canonical())) {
        format!("{peer}, the address that the request came from")
    } else if ["127.0.0.1", "::1"]
        .iter()
        .any(|ip| ip.parse().is_ok_and(|ip: IpAddr| network.contains(&ip)))
        || network.addr().is_loopback()
    {
        "loopback addresses: checks of this host, and balancers on it".to_owned()
    } else {
        let is_single = network.prefix_len() == network.max_prefix_len();
        let of_broker = if is_single {
            brokers.get(&network.addr())
        } else {
            brokers.iter().find(|ip| network.contains(*ip))
        };
        format!("{}, the address of a broker", of_broker?)
    };
    Some(format!("the ban of {network} includes {what}; `unban --ip {network}` ends it"))
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
