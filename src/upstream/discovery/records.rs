//! From what DNS says to the brokers of a pool.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    num::NonZeroU32,
};

use super::resolver::Service;
use crate::{
    balance::KETAMA_MAX_TOTAL_WEIGHT,
    config::{self, Address, Upstream},
};

/// The most brokers taken from one answer. A message of DNS, of 64 KiB at most, could name more.
const MOST: usize = 4096;

/// Brokers that an answer names.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Found {
    pub(in crate::upstream) upstreams: Vec<Upstream>,
    /// Records of no use, for the log.
    pub(in crate::upstream) notes: Vec<String>,
}

/// The brokers would not fit into the pool's balancer.
#[derive(Debug, thiserror::Error)]
#[error(
    "the brokers weigh {0} in sum; for ketama, which has 160 points for each unit, up to \
     {KETAMA_MAX_TOTAL_WEIGHT} are allowed"
)]
pub struct TooHeavy(pub(in crate::upstream) u64);

/// SRV records: a broker is named by its target, and by its port too where the target has several;
/// those of the lowest priority are primaries, all others backups.
pub(in crate::upstream) fn of_services(mut services: Vec<Service>) -> Found {
    let mut found = Found::default();
    // The root is how a domain says that it has no such service.
    services.retain(|service| !service.target.is_empty());
    let count = services.len();
    services.retain(|service| service.port != 0 && config::is_name(&service.target));
    found.note(count - services.len(), "without a usable target or port are skipped");

    // The same order and the same choice, whichever order the server gives.
    let rank = |service: &Service| (service.priority, u16::MAX - service.weight);
    services.sort_by(|a, b| (rank(a), &a.target, a.port).cmp(&(rank(b), &b.target, b.port)));
    let mut seen = HashSet::new();
    services.retain(|service| seen.insert((service.target.clone(), service.port)));
    found.note(services.len().saturating_sub(MOST), "beyond the first 4096 are left out");
    services.truncate(MOST);

    let Some(best) = services.first().map(|service| service.priority) else { return found };
    services.sort_by(|a, b| (&a.target, a.port).cmp(&(&b.target, b.port)));
    let mut ports = HashMap::<_, u32>::new();
    for service in &services {
        *ports.entry(service.target.clone()).or_default() += 1;
    }
    found.upstreams.extend(services.into_iter().map(|service| {
        let Service { priority, weight, port, target } = service;
        let has_several = ports.get(&target).is_some_and(|&ports| ports > 1);
        Upstream {
            name: if has_several {
                format!("{target}:{port}").into()
            } else {
                target.as_str().into()
            },
            address: Address::Host(target.into(), port),
            // A weight of 0 is a small one, not none: RFC 2782.
            weight: NonZeroU32::new(weight.into()).unwrap_or(NonZeroU32::MIN),
            max_connections: None,
            backup: priority > best,
        }
    }));
    found
}

/// Addresses: a broker is named by its place among them.
pub(in crate::upstream) fn of_addresses(
    host: &str,
    port: u16,
    addresses: &[IpAddr],
) -> (Found, Vec<IpAddr>) {
    let mut found = Found::default();
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let mut addresses = addresses.to_vec();
    // IPv4 comes first.
    addresses.sort_unstable();
    addresses.dedup();
    found.note(addresses.len().saturating_sub(MOST), "beyond the first 4096 are left out");
    addresses.truncate(MOST);
    found.upstreams.extend((1..=addresses.len()).map(|n| Upstream {
        name: format!("{host}#{n}").into(),
        address: Address::Host(host.as_str().into(), port),
        weight: NonZeroU32::MIN,
        max_connections: None,
        backup: false,
    }));
    (found, addresses)
}

impl Found {
    fn note(&mut self, count: usize, what: &str) {
        if count > 0 {
            self.notes.push(format!("{count} records {what}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::pool::with_discovered;

    fn service(priority: u16, weight: u16, target: &str, port: u16) -> Service {
        Service { priority, weight, port, target: target.to_owned() }
    }

    /// `name address weight`, and `backup` where it is one.
    fn shown(upstreams: &[Upstream]) -> Vec<String> {
        let show = |upstream: &Upstream| {
            let Address::Host(host, port) = &upstream.address else { panic!("{upstream:?}") };
            let backup = if upstream.backup { " backup" } else { "" };
            format!("{} {host}:{port} {}{backup}", upstream.name, upstream.weight)
        };
        upstreams.iter().map(show).collect()
    }

    fn pool(algorithm: &str, names: &[&str]) -> config::Pool {
        let upstreams: Vec<_> = names
            .iter()
            .map(|name| format!("{{ name: \"{name}\", address: \"10.0.0.1:1\" }}"))
            .collect();
        let upstreams = if names.is_empty() {
            String::new()
        } else {
            format!("upstreams: [{}],", upstreams.join(","))
        };
        let text = format!(
            "{{ listeners: [{{ name: l, bind: \"127.0.0.1:0\", pool: p }}], pools: [{{ name: p, \
             balance: {{ algorithm: {algorithm} }}, {upstreams} discover: {{ dns: x }} }}] }}"
        );
        let config = config::Config::parse(&text, std::path::Path::new("t.yaml"), &|_| None);
        config.unwrap().pools.remove(0)
    }

    /// All brokers of a pool with these of its own.
    fn behind(found: Found, algorithm: &str, names: &[&str]) -> Result<Vec<Upstream>, TooHeavy> {
        with_discovered(&pool(algorithm, names), found.upstreams.into_iter())
    }

    #[test]
    fn services_become_brokers() {
        let found = of_services(vec![
            service(20, 5, "c.x", 1883),
            service(10, 0, "b.x", 1884),
            service(10, 7, "a.x", 1883),
            service(30, 1, "d.x", 1883),
        ]);
        assert_eq!(found.notes, [""; 0]);
        assert_eq!(
            shown(&found.upstreams),
            ["a.x a.x:1883 7", "b.x b.x:1884 1", "c.x c.x:1883 5 backup", "d.x d.x:1883 1 backup"]
        );
    }

    #[test]
    fn a_target_with_several_ports() {
        let found = of_services(vec![
            service(0, 1, "a.x", 1884),
            service(0, 1, "b.x", 1883),
            service(0, 2, "a.x", 1883),
        ]);
        assert_eq!(
            shown(&found.upstreams),
            ["a.x:1883 a.x:1883 2", "a.x:1884 a.x:1884 1", "b.x b.x:1883 1"]
        );
    }

    #[test]
    fn the_same_service_twice_is_one() {
        let mut services =
            vec![service(1, 1, "a.x", 1), service(0, 2, "a.x", 1), service(0, 3, "a.x", 1)];
        for _ in 0..services.len() {
            services.rotate_left(1);
            assert_eq!(shown(&of_services(services.clone()).upstreams), ["a.x a.x:1 3"]);
        }
    }

    #[test]
    fn records_of_no_use() {
        let found = of_services(vec![
            service(0, 1, "a\\032b.x", 1883),
            service(0, 1, "a\"b.x", 1883),
            service(0, 1, "${a}.x", 1883),
            service(0, 1, "a.x", 0),
            // The lowest priority is that of those that can be used.
            service(1, 1, "b.x", 1883),
        ]);
        assert_eq!(shown(&found.upstreams), ["b.x b.x:1883 1"]);
        assert_eq!(found.notes, ["4 records without a usable target or port are skipped"]);
        // "The service is decidedly not available at this domain."
        let found = of_services(vec![service(0, 0, "", 0)]);
        assert!(found.upstreams.is_empty() && found.notes.is_empty());
    }

    #[test]
    fn more_brokers_than_anyone_has() {
        let services = (0..5000).map(|n| service(n % 2, 1, &format!("b{n:04}.x"), 1883));
        let found = of_services(services.collect());
        assert_eq!(found.upstreams.len(), MOST);
        assert_eq!(found.upstreams.iter().filter(|upstream| !upstream.backup).count(), 2500);
        assert_eq!(found.notes, ["904 records beyond the first 4096 are left out"]);
        let addresses: Vec<_> =
            (0..5000).map(|n| std::net::Ipv4Addr::from_bits(n).into()).collect();
        let (found, places) = of_addresses("x", 1883, &addresses);
        assert_eq!((found.upstreams.len(), places.len()), (MOST, MOST));
        assert_eq!(found.notes.len(), 1);
    }

    #[test]
    fn addresses_become_brokers() {
        let ips = ["::2", "10.0.0.10", "10.0.0.9", "::1", "10.0.0.9"].map(|ip| ip.parse().unwrap());
        let (found, places) = of_addresses("Emqx.X.", 1883, &ips);
        let wanted = [1, 2, 3, 4].map(|n| format!("emqx.x#{n} emqx.x:1883 1"));
        assert_eq!(shown(&found.upstreams), wanted);
        let places: Vec<_> = places.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["10.0.0.9", "10.0.0.10", "::1", "::2"]);
    }

    #[test]
    fn brokers_of_the_configuration_come_first() {
        let services = vec![service(0, 5, "a.x", 1), service(0, 6, "b.x", 1)];
        let found = of_services(services.clone());
        let all = behind(found, "rendezvous", &["static", "b.x"]).unwrap();
        let names: Vec<_> =
            all.iter().map(|upstream| (&*upstream.name, upstream.weight.get())).collect();
        assert_eq!(names, [("static", 1), ("b.x", 1), ("a.x", 5)]);
        // A host's port of its own and a host of that name: whoever is first.
        let twins = vec![service(0, 1, "a", 1), service(0, 1, "a", 2), service(0, 1, "a:1", 3)];
        let all = behind(of_services(twins), "rendezvous", &[]).unwrap();
        assert_eq!(shown(&all), ["a:1 a:1 1", "a:2 a:2 1"]);
    }

    #[test]
    fn weights_that_ketama_has_no_room_for() {
        let services = |weight| vec![service(0, weight, "a.x", 1), service(0, 32768, "b.x", 1)];
        assert!(behind(of_services(services(32768)), "ketama", &[]).is_ok());
        assert!(behind(of_services(services(32768)), "ketama", &["static"]).is_err());
        let TooHeavy(weight) = behind(of_services(services(32769)), "ketama", &[]).unwrap_err();
        assert_eq!(weight, KETAMA_MAX_TOTAL_WEIGHT + 1);
        assert!(behind(of_services(services(32769)), "maglev", &[]).is_ok());
    }
}
