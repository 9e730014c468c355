//! The parts of DNS answers that are used to find brokers.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use hickory_resolver::{
    lookup::Lookup,
    net::NetError,
    proto::rr::{Name, RData, Record},
};

use super::error::LookupError;

/// A host's addresses.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedAddresses {
    /// In the order of the answer, IPv4 before IPv6.
    pub list: Vec<IpAddr>,
    /// How long the answer is valid: the shortest TTL of its records.
    pub ttl: Duration,
    /// Why the addresses of the other family are unknown, if their lookup failed.
    pub missing: Option<LookupError>,
}

/// The answer to a lookup of SRV records (RFC 2782).
#[derive(Clone, Debug)]
pub(crate) struct SrvRecords {
    pub list: Vec<SrvRecord>,
    pub ttl: Duration,
    /// Addresses of targets, from the additional section.
    pub addresses: HashMap<String, ResolvedAddresses>,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SrvRecord {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// In lower case and without the trailing dot; empty if the domain does not have the service.
    pub target: String,
}

impl ResolvedAddresses {
    pub(crate) fn of(answers: [Result<Lookup, NetError>; 2]) -> Result<Self, LookupError> {
        let (mut list, mut ttl, mut missing) = (Vec::new(), Duration::MAX, None);
        for answer in answers {
            match answer.map_err(LookupError::from) {
                Ok(answer) => {
                    list.extend(answer.answers().iter().filter_map(address));
                    ttl = ttl.min(min_ttl(answer.answers()));
                }
                Err(LookupError::Empty) => {}
                Err(failure) => missing = Some(failure),
            }
        }
        if list.is_empty() {
            return Err(missing.unwrap_or(LookupError::Empty));
        }
        Ok(Self { list, ttl, missing })
    }

    /// Whether the host may still have `address`, because the lookup of its family failed.
    pub(crate) fn may_still_have(&self, address: IpAddr) -> bool {
        let is_family = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
        self.missing.is_some() && !self.list.iter().any(is_family)
    }

    /// The addresses of the host, and those of `known` that it may still have.
    pub(crate) fn with_known(&self, known: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
        let known = known.into_iter().filter(|address| self.may_still_have(*address));
        self.list.iter().copied().chain(known).collect()
    }
}

impl SrvRecords {
    pub(crate) fn of(answer: &Lookup) -> Result<Self, LookupError> {
        let service = |record: &Record| match &record.data {
            RData::SRV(srv) => Some(SrvRecord {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: host_name(&srv.target),
            }),
            _ => None,
        };
        let mut addresses = HashMap::<_, ResolvedAddresses>::new();
        for record in answer.additionals() {
            if let Some(address) = address(record) {
                let ttl = min_ttl([record]);
                let host = addresses
                    .entry(host_name(&record.name))
                    .or_insert_with(|| ResolvedAddresses { list: Vec::new(), ttl, missing: None });
                host.list.push(address);
                host.ttl = host.ttl.min(ttl);
            }
        }
        for host in addresses.values_mut() {
            host.list.sort_by_key(IpAddr::is_ipv6);
        }
        let list: Vec<_> = answer.answers().iter().filter_map(service).collect();
        if list.is_empty() {
            return Err(LookupError::Empty);
        }
        Ok(Self { list, ttl: min_ttl(answer.answers()), addresses })
    }
}

/// The address of a record, if a broker can have it: not an unspecified address, which blocked
/// names resolve to, nor an address that stands for many hosts.
fn address(record: &Record) -> Option<IpAddr> {
    let address = match &record.data {
        RData::A(v4) => IpAddr::V4(v4.0),
        RData::AAAA(v6) => IpAddr::V6(v6.0),
        _ => return None,
    };
    let is_one_host = !address.is_unspecified()
        && !address.is_multicast()
        && address != IpAddr::V4(Ipv4Addr::BROADCAST);
    is_one_host.then_some(address)
}

fn host_name(name: &Name) -> String {
    let name = name.to_lowercase().to_ascii();
    name.strip_suffix('.').unwrap_or(&name).to_owned()
}

fn min_ttl<'a>(records: impl IntoIterator<Item = &'a Record>) -> Duration {
    let ttl = records.into_iter().map(|record| record.ttl).min();
    Duration::from_secs(ttl.unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str], missing: bool) -> ResolvedAddresses {
        ResolvedAddresses {
            list: list.iter().copied().map(ip).collect(),
            ttl: Duration::ZERO,
            missing: missing.then_some(LookupError::TimedOut),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_a_family_whose_lookup_failed_stay() {
        for (list, missing, known, all) in [
            (&["10.0.0.2", "10.0.0.1"][..], false, &[][..], &["10.0.0.2", "10.0.0.1"][..]),
            (&["10.0.0.2"], false, &["10.0.0.1"], &["10.0.0.2"]),
            // The other family was removed, or is unknown.
            (&["10.0.0.2"], false, &["2001:db8::1"], &["10.0.0.2"]),
            (&["10.0.0.2"], true, &["2001:db8::1"], &["10.0.0.2", "2001:db8::1"]),
            (&["10.0.0.2"], true, &["10.0.0.3"], &["10.0.0.2"]),
            (&["2001:db8::2"], true, &["10.0.0.3"], &["2001:db8::2", "10.0.0.3"]),
        ] {
            let addresses = addresses(list, missing);
            let known = known.iter().copied().map(ip);
            let all: Vec<_> = all.iter().copied().map(ip).collect();
            assert_eq!(addresses.with_known(known), all, "{addresses:?}");
        }
    }

    #[test]
    fn addresses_that_no_broker_can_have() {
        let name = Name::from_ascii("x.").unwrap();
        for (text, is_one) in [
            ("10.0.0.1", true),
            ("127.0.0.1", true),
            ("2001:db8::1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            ("255.255.255.255", false),
        ] {
            let record = Record::from_rdata(name.clone(), 1, RData::from(ip(text)));
            assert_eq!(address(&record), is_one.then(|| ip(text)));
        }
    }
}
