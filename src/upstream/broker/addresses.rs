//! The addresses of a broker's host, in the order in which they are tried.

use std::{net::SocketAddr, sync::Arc};

/// The maximum number of addresses used per host.
const MAX_ADDRESSES: usize = 16;

/// One address, shared because each session keeps the address that it was dialled at.
pub(crate) type HostAddress = Arc<SocketAddr>;

/// The addresses of one broker, at least one.
#[derive(Clone, Debug)]
pub(crate) struct HostAddresses {
    /// Tried first: the address that worked last.
    first: HostAddress,
    /// `None` if there is a single address, so that a copy is cheap.
    others: Option<Arc<[HostAddress]>>,
}

impl HostAddresses {
    pub(super) fn of_one(address: SocketAddr) -> Self {
        Self { first: Arc::new(address), others: None }
    }

    /// Alternates between the families (RFC 8305, section 4), but keeps the first address of
    /// `before` first if it is still there. `None` if there are no addresses.
    ///
    /// The order of a DNS answer does not matter: the same set of addresses keeps its order.
    pub(super) fn new(
        list: &[SocketAddr],
        ipv6_first: bool,
        before: Option<&Self>,
    ) -> Option<Self> {
        let mut known = interleaved(list, ipv6_first);
        if let Some(before) = before {
            if let Some(at) = known.iter().position(|address| *address == *before.first) {
                known[..=at].rotate_right(1);
            }
            known.truncate(MAX_ADDRESSES);
            let is_same =
                known.len() == before.len() && before.iter().all(|address| known.contains(address));
            if is_same {
                return Some(before.clone());
            }
        }
        known.truncate(MAX_ADDRESSES);
        let mut addresses = known.into_iter().map(Arc::new);
        let first = addresses.next()?;
        let others = Some(addresses.collect::<Arc<[_]>>()).filter(|others| !others.is_empty());
        Some(Self { first, others })
    }

    pub(crate) fn first(&self) -> &HostAddress {
        &self.first
    }

    /// All addresses but the first.
    pub(crate) fn others(&self) -> &[HostAddress] {
        self.others.as_deref().unwrap_or_default()
    }

    /// All addresses, in the order in which they are tried.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &HostAddress> + Clone {
        std::iter::once(&self.first).chain(self.others())
    }

    pub(crate) fn len(&self) -> usize {
        1 + self.others().len()
    }

    pub(crate) fn is_several(&self) -> bool {
        self.others.is_some()
    }

    /// All but the first, as "10.0.0.2:1883, 10.0.0.3:1883"; `None` for a single address.
    pub(crate) fn others_text(&self) -> Option<String> {
        let others: Vec<_> = self.others().iter().map(ToString::to_string).collect();
        Some(others.join(", ")).filter(|others| !others.is_empty())
    }

    /// Moves `address` to the front if it is in the list.
    pub(super) fn put_first(&mut self, address: SocketAddr) {
        if *self.first != address && self.others().iter().any(|other| **other == address) {
            let (first, rest): (Vec<_>, Vec<_>) =
                self.iter().cloned().partition(|other| **other == address);
            self.replace(first.into_iter().chain(rest));
        }
    }

    /// Moves `address` to the end if it is the first.
    pub(super) fn put_last(&mut self, address: SocketAddr) {
        if *self.first == address && self.is_several() {
            let rest = self.others().to_vec();
            let first = self.first.clone();
            self.replace(rest.into_iter().chain([first]));
        }
    }

    fn replace(&mut self, mut order: impl Iterator<Item = HostAddress>) {
        if let Some(first) = order.next() {
            *self = Self { first, others: Some(order.collect()) };
        }
    }
}

/// Each address once, alternating between the families.
fn interleaved(list: &[SocketAddr], ipv6_first: bool) -> Vec<SocketAddr> {
    let of_family = |ipv6| list.iter().filter(move |address| address.is_ipv6() == ipv6);
    let (mut one, mut other) = (of_family(ipv6_first), of_family(!ipv6_first));
    let mut known = Vec::with_capacity(list.len());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return known;
        }
        for address in pair.into_iter().flatten() {
            if !known.contains(address) {
                known.push(*address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(addresses: &[&str]) -> Vec<SocketAddr> {
        let parse = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), 1883);
        addresses.iter().map(parse).collect()
    }

    fn parsed(addresses: &[&str], before: Option<&HostAddresses>) -> HostAddresses {
        HostAddresses::new(&list(addresses), true, before).unwrap()
    }

    fn shown(addresses: &HostAddresses) -> Vec<String> {
        addresses.iter().map(|address| address.ip().to_string()).collect()
    }

    #[test]
    fn families_alternate() {
        let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1", "10.0.0.2"];
        assert_eq!(shown(&parsed(&all, None)), ["::1", "10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let ipv4_first = HostAddresses::new(&list(&all), false, None).unwrap();
        assert_eq!(shown(&ipv4_first), ["10.0.0.1", "::1", "10.0.0.2", "10.0.0.3"]);
        assert!(HostAddresses::new(&[], true, None).is_none());
    }

    #[test]
    fn the_address_that_worked_last_stays_first() {
        let mut known = parsed(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], None);
        known.put_first(list(&["10.0.0.3"])[0]);
        assert_eq!(shown(&known), ["10.0.0.3", "10.0.0.1", "10.0.0.2"]);
        // A different order changes nothing.
        let same = parsed(&["10.0.0.2", "10.0.0.3", "10.0.0.1"], Some(&known));
        assert_eq!(shown(&same), shown(&known));
        let more = parsed(&["10.0.0.9", "::1", "10.0.0.3"], Some(&known));
        assert_eq!(shown(&more), ["10.0.0.3", "::1", "10.0.0.9"]);
        let gone = parsed(&["10.0.0.9", "10.0.0.1"], Some(&known));
        assert_eq!(shown(&gone), ["10.0.0.9", "10.0.0.1"]);
        assert!(!parsed(&["10.0.0.9"], Some(&gone)).is_several());
    }

    #[test]
    fn an_address_that_failed_is_last() {
        let mut known = parsed(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], None);
        known.put_last(list(&["10.0.0.1"])[0]);
        assert_eq!(shown(&known), ["10.0.0.2", "10.0.0.3", "10.0.0.1"]);
        known.put_first(list(&["10.0.0.4"])[0]);
        known.put_last(list(&["10.0.0.3"])[0]);
        assert_eq!(shown(&known), ["10.0.0.2", "10.0.0.3", "10.0.0.1"]);
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let many: Vec<_> = (0..40).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(parsed(&many, None).len(), MAX_ADDRESSES);
        let known = parsed(&["10.0.0.39", "10.0.0.1"], None);
        let now = parsed(&many, Some(&known));
        assert_eq!((now.len(), &*shown(&now)[0]), (MAX_ADDRESSES, "10.0.0.39"));
    }
}
