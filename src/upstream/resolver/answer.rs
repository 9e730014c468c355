//! What DNS answers, as far as brokers are found by it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
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
    pub(super) fn of(answers: [Result<Lookup, NetError>; 2]) -> Result<Self, LookupError> {
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

    /// The address to use: the one in use as long as the host has it, so that a server that changes
    /// the order of its answers changes nothing.
    pub fn pick(&self, current: Option<IpAddr>) -> Option<IpAddr> {
        let holds = |address: &IpAddr| self.list.contains(address) || self.is_silent_on(*address);
        let (first, last) = (self.list.first().copied(), self.list.last().copied());
        let routable = || match (first, last) {
            (Some(IpAddr::V4(_)), Some(IpAddr::V6(_))) => {
                self.list.iter().find(|a| is_routable(**a)).copied()
            }
            _ => None,
        };
        current.filter(holds).or_else(routable).or(first)
    }
}

/// Whether this machine has a way to an address's network. Sends nothing.
fn is_routable(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Any port but 0 will do.
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address, 1))).is_ok()
}

impl Services {
    pub(super) fn of(answer: &Lookup) -> Result<Self, LookupError> {
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
    fn the_address_in_use_stays_while_the_host_has_it() {
        for (list, missing, current, picked) in [
            (&["10.0.0.2", "10.0.0.1"][..], false, None, "10.0.0.2"),
            (&["10.0.0.2", "10.0.0.1"], false, Some("10.0.0.1"), "10.0.0.1"),
            (&["10.0.0.2", "10.0.0.1"], false, Some("10.0.0.3"), "10.0.0.2"),
            // The other family: gone, or perhaps not.
            (&["10.0.0.2"], false, Some("2001:db8::1"), "10.0.0.2"),
            (&["10.0.0.2"], true, Some("2001:db8::1"), "2001:db8::1"),
            (&["10.0.0.2"], true, Some("10.0.0.3"), "10.0.0.2"),
            (&["2001:db8::2"], true, Some("10.0.0.3"), "10.0.0.3"),
            // Both, and a way to loopback at least.
            (&["127.0.0.1", "2001:db8::2"], false, None, "127.0.0.1"),
            (&["127.0.0.1", "2001:db8::2"], false, Some("2001:db8::2"), "2001:db8::2"),
        ] {
            let addresses = addresses(list, missing);
            assert_eq!(addresses.pick(current.map(ip)), Some(ip(picked)), "{addresses:?}");
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
