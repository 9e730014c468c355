//! The time of one look-up in a set of networks, and its memory for each of them.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use criterion::{Criterion, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mqtt_lb::testing::networks::PrefixSet;

/// The size of a list of networks that an operator may have, such as all networks of a country.
const NETWORKS: usize = 100_000;
/// More than a cache holds of the paths to them.
const ADDRESSES: usize = 1 << 16;

fn look_ups(criterion: &mut Criterion) {
    let mut random = fastrand::Rng::with_seed(7);
    let v4: Vec<IpNet> = (0..NETWORKS).map(|_| v4_network(&mut random)).collect();
    let v6: Vec<IpNet> = (0..NETWORKS).map(|_| v6_network(&mut random)).collect();
    for (name, networks) in [("ipv4", v4), ("ipv6", v6)] {
        let set: PrefixSet = networks.iter().copied().collect();
        eprintln!("{name}: {:.1} bytes a network", set.heap_bytes() as f64 / NETWORKS as f64);
        // Half of them are in the set.
        let addresses: Vec<IpAddr> = (0..ADDRESSES)
            .map(|_| match random.choice(&networks).filter(|_| random.bool()) {
                Some(network) => network.addr(),
                None if name == "ipv4" => Ipv4Addr::from_bits(random.u32(..)).into(),
                None => Ipv6Addr::from_bits(0x2000 << 112 | random.u128(..) >> 3).into(),
            })
            .collect();
        let mut next = addresses.iter().cycle();
        criterion.bench_function(&format!("contains/{name}"), |bencher| {
            bencher.iter(|| next.next().map(|ip| set.contains(black_box(*ip))));
        });
    }
}

fn v4_network(random: &mut fastrand::Rng) -> IpNet {
    let address = Ipv4Addr::from_bits(random.u32(..));
    Ipv4Net::new_assert(address, random.u8(16..=32)).trunc().into()
}

/// Of 2000::/3, where all addresses of the internet are.
fn v6_network(random: &mut fastrand::Rng) -> IpNet {
    let address = Ipv6Addr::from_bits(0x2000 << 112 | random.u128(..) >> 3);
    Ipv6Net::new_assert(address, random.u8(32..=64)).trunc().into()
}

criterion_group!(benches, look_ups);
criterion_main!(benches);
