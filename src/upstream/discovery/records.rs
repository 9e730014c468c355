//! The conversion of DNS records to the brokers of a pool.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    num::NonZeroU32,
};

use super::resolver::SrvRecord;
use crate::config::{self, Address, Upstream};

/// The maximum number of brokers taken from one answer. A DNS message of 64 KiB could name more.
const MAX_BROKERS: usize = 4096;

/// The brokers of one answer.
#[derive(Debug, Default)]
pub(crate) struct FoundBrokers {
    pub(crate) upstreams: Vec<Upstream>,
    /// The unusable records, for the log.
    pub(crate) notes: Vec<String>,
}

/// The brokers of SRV records. A broker is named after its target, and also after its port if the
/// target has several; those with the lowest priority value are primaries, all others are backups.
pub(crate) fn from_srv(mut services: Vec<SrvRecord>) -> FoundBrokers {
    let mut found = FoundBrokers::default();
    // A domain without the service has the root as its target (RFC 2782).
    services.retain(|service| !service.target.is_empty());
    let count = services.len();
    services.retain(|service| service.port != 0 && config::is_name(&service.target));
    found.note(count - services.len(), "without a usable target or port are skipped");

    // The result does not depend on the order of the answer.
    let rank = |service: &SrvRecord| (service.priority, u16::MAX - service.weight);
    services.sort_by(|a, b| (rank(a), &a.target, a.port).cmp(&(rank(b), &b.target, b.port)));
    let mut seen = HashSet::new();
    services.retain(|service| seen.insert((service.target.clone(), service.port)));
    found.note(services.len().saturating_sub(MAX_BROKERS), "beyond the first 4096 are left out");
    services.truncate(MAX_BROKERS);

    let Some(best) = services.first().map(|service| service.priority) else { return found };
    services.sort_by(|a, b| (&a.target, a.port).cmp(&(&b.target, b.port)));
    let mut ports = HashMap::<_, u32>::new();
    for service in &services {
        *ports.entry(service.target.clone()).or_default() += 1;
    }
    found.upstreams.extend(services.into_iter().map(|service| {
        let SrvRecord { priority, weight, port, target } = service;
        let has_several = ports.get(&target).is_some_and(|&ports| ports > 1);
        Upstream {
            name: if has_several {
                format!("{target}:{port}").into()
            } else {
                target.as_str().into()
            },
            address: Address::Host(target.into(), port),
            // A weight of 0 means a very small weight (RFC 2782).
            weight: NonZeroU32::new(weight.into()).unwrap_or(NonZeroU32::MIN),
            max_connections: None,
            backup: priority > best,
        }
    }));
    found
}

/// The brokers of A and AAAA records. A broker is named after its position among the addresses.
pub(crate) fn from_addresses(
    host: &str,
    port: u16,
    addresses: &[IpAddr],
) -> (FoundBrokers, Vec<IpAddr>) {
    let mut found = FoundBrokers::default();
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let mut addresses = addresses.to_vec();
    // IPv4 comes first.
    addresses.sort_unstable();
    addresses.dedup();
    found.note(addresses.len().saturating_sub(MAX_BROKERS), "beyond the first 4096 are left out");
    addresses.truncate(MAX_BROKERS);
    found.upstreams.extend((1..=addresses.len()).map(|n| Upstream {
        name: format!("{host}#{n}").into(),
        address: Address::Host(host.as_str().into(), port),
        weight: NonZeroU32::MIN,
        max_connections: None,
        backup: false,
    }));
    (found, addresses)
}

impl FoundBrokers {
    fn note(&mut self, count: usize, what: &str) {
        if count > 0 {
            self.notes.push(format!("{count} records {what}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        balance::KETAMA_MAX_TOTAL_WEIGHT,
        upstream::pool::{WeightLimitExceeded, with_discovered},
    };

    fn service(priority: u16, weight: u16, target: &str, port: u16) -> SrvRecord {
        SrvRecord { priority, weight, port, target: target.to_owned() }
    }

    /// Shows each broker as `name address weight`, with `backup` if it is one.
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

    /// All brokers of a pool that has configured brokers with these names.
    fn behind(
        found: FoundBrokers,
        algorithm: &str,
        names: &[&str],
    ) -> Result<Vec<Upstream>, WeightLimitExceeded> {
        with_discovered(&pool(algorithm, names), found.upstreams.into_iter())
    }

    #[test]
    fn srv_records_become_brokers() {
        let found = from_srv(vec![
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
        let found = from_srv(vec![
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
    fn duplicate_records_are_one_broker() {
        let mut services =
            vec![service(1, 1, "a.x", 1), service(0, 2, "a.x", 1), service(0, 3, "a.x", 1)];
        for _ in 0..services.len() {
            services.rotate_left(1);
            assert_eq!(shown(&from_srv(services.clone()).upstreams), ["a.x a.x:1 3"]);
        }
    }

    #[test]
    fn unusable_records_are_skipped() {
        let found = from_srv(vec![
            service(0, 1, "a\\032b.x", 1883),
            service(0, 1, "a\"b.x", 1883),
            service(0, 1, "${a}.x", 1883),
            service(0, 1, "a.x", 0),
            // The lowest priority value among the usable records counts.
            service(1, 1, "b.x", 1883),
        ]);
        assert_eq!(shown(&found.upstreams), ["b.x b.x:1883 1"]);
        assert_eq!(found.notes, ["4 records without a usable target or port are skipped"]);
        // "The service is decidedly not available at this domain."
        let found = from_srv(vec![service(0, 0, "", 0)]);
        assert!(found.upstreams.is_empty() && found.notes.is_empty());
    }

    #[test]
    fn the_number_of_brokers_is_bounded() {
        let services = (0..5000).map(|n| service(n % 2, 1, &format!("b{n:04}.x"), 1883));
        let found = from_srv(services.collect());
        assert_eq!(found.upstreams.len(), MAX_BROKERS);
        assert_eq!(found.upstreams.iter().filter(|upstream| !upstream.backup).count(), 2500);
        assert_eq!(found.notes, ["904 records beyond the first 4096 are left out"]);
        let addresses: Vec<_> =
            (0..5000).map(|n| std::net::Ipv4Addr::from_bits(n).into()).collect();
        let (found, list) = from_addresses("x", 1883, &addresses);
        assert_eq!((found.upstreams.len(), list.len()), (MAX_BROKERS, MAX_BROKERS));
        assert_eq!(found.notes.len(), 1);
    }

    #[test]
    fn addresses_become_brokers() {
        let ips = ["::2", "10.0.0.10", "10.0.0.9", "::1", "10.0.0.9"].map(|ip| ip.parse().unwrap());
        let (found, list) = from_addresses("Emqx.X.", 1883, &ips);
        let wanted = [1, 2, 3, 4].map(|n| format!("emqx.x#{n} emqx.x:1883 1"));
        assert_eq!(shown(&found.upstreams), wanted);
        let list: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(list, ["10.0.0.9", "10.0.0.10", "::1", "::2"]);
    }

    #[test]
    fn configured_brokers_come_first() {
        let services = vec![service(0, 5, "a.x", 1), service(0, 6, "b.x", 1)];
        let found = from_srv(services.clone());
        let all = behind(found, "rendezvous", &["static", "b.x"]).unwrap();
        let names: Vec<_> =
            all.iter().map(|upstream| (&*upstream.name, upstream.weight.get())).collect();
        assert_eq!(names, [("static", 1), ("b.x", 1), ("a.x", 5)]);
        // A host with its port, and a host whose name looks the same: the first one stays.
        let twins = vec![service(0, 1, "a", 1), service(0, 1, "a", 2), service(0, 1, "a:1", 3)];
        let all = behind(from_srv(twins), "rendezvous", &[]).unwrap();
        assert_eq!(shown(&all), ["a:1 a:1 1", "a:2 a:2 1"]);
    }

    #[test]
    fn ketama_limits_the_total_weight() {
        let services = |weight| vec![service(0, weight, "a.x", 1), service(0, 32768, "b.x", 1)];
        assert!(behind(from_srv(services(32768)), "ketama", &[]).is_ok());
        assert!(behind(from_srv(services(32768)), "ketama", &["static"]).is_err());
        let WeightLimitExceeded(weight) =
            behind(from_srv(services(32769)), "ketama", &[]).unwrap_err();
        assert_eq!(weight, KETAMA_MAX_TOTAL_WEIGHT + 1);
        assert!(behind(from_srv(services(32769)), "maglev", &[]).is_ok());
    }
}
