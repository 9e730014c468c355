//! What DNS answers, as far as brokers are found by it.

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

use super::LookupError;

/// A host's addresses.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// In the order of the answer, IPv4 before IPv6.
    pub list: Vec<IpAddr>,
    /// How long the answer holds.
    pub ttl: Duration,
    /// Why the other family's addresses, of which there may be some, are not known.
    pub missing: Option<LookupError>,
}

/// The answer to a look-up of SRV records (RFC 2782).
#[derive(Clone, Debug)]
pub struct Services {
    pub list: Vec<Service>,
    pub ttl: Duration,
    /// Addresses of targets that came along with it.
    pub addresses: HashMap<String, Addresses>,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// In lower case and without the last dot; empty where the service is said not to exist.
    pub target: String,
}

impl Addresses {
    pub(in crate::upstream) fn of(
        answers: [Result<Lookup, NetError>; 2],
    ) -> Result<Self, LookupError> {
        let (mut list, mut ttl, mut missing) = (Vec::new(), Duration::MAX, None);
        for answer in answers {
            match answer.map_err(LookupError::from) {
                Ok(answer) => {
                    list.extend(answer.answers().iter().filter_map(address));
                    ttl = ttl.min(shortest(answer.answers()));
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

    /// Whether the host may have this address, for all that is known.
    pub fn is_silent_on(&self, address: IpAddr) -> bool {
        let is_family = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
        self.missing.is_some() && !self.list.iter().any(is_family)
    }

    /// All addresses of the host, with those of `known` that it may still have.
    pub fn with_known(&self, known: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
        let known = known.into_iter().filter(|address| self.is_silent_on(*address));
        self.list.iter().copied().chain(known).collect()
    }
}

impl Services {
    pub(in crate::upstream) fn of(answer: &Lookup) -> Result<Self, LookupError> {
        let service = |record: &Record| match &record.data {
            RData::SRV(srv) => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: host_name(&srv.target),
            }),
            _ => None,
        };
        let mut addresses = HashMap::<_, Addresses>::new();
        for record in answer.additionals() {
            if let Some(address) = address(record) {
                let ttl = shortest([record]);
                let host = addresses.entry(host_name(&record.name)).or_insert_with(|| Addresses {
                    list: Vec::new(),
                    ttl,
                    missing: None,
                });
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
        Ok(Self { list, ttl: shortest(answer.answers()), addresses })
    }
}

/// An address that a broker can have. What names are made to resolve to in order to block them, and
/// what stands for many hosts, is none.
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

fn shortest<'a>(records: impl IntoIterator<Item = &'a Record>) -> Duration {
    let ttl = records.into_iter().map(|record| record.ttl).min();
    Duration::from_secs(ttl.unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str], missing: bool) -> Addresses {
        Addresses {
            list: list.iter().copied().map(ip).collect(),
            ttl: Duration::ZERO,
            missing: missing.then_some(LookupError::TimedOut),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_family_that_is_not_known_stays() {
        for (list, missing, known, all) in [
            (&["10.0.0.2", "10.0.0.1"][..], false, &[][..], &["10.0.0.2", "10.0.0.1"][..]),
            (&["10.0.0.2"], false, &["10.0.0.1"], &["10.0.0.2"]),
            // The other family: gone, or perhaps not.
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
    fn what_is_no_address_of_a_broker() {
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
