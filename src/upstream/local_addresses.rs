//! The local addresses from which a broker is dialled in turn, and their ports in use.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus::IntGauge;

use super::no_port::NoPort;
use crate::{
    config::{self, Address},
    metrics::{ScopedSample, UpstreamMetrics},
    net::ConnectError,
};

/// The label value for a local address chosen by the kernel.
const AUTO_LABEL: &str = "auto";

/// The shortest time between two warnings about one broker: during a shortage of ports, every dial
/// fails.
const WARN_INTERVAL: Duration = Duration::from_secs(5);

/// How long an address without a free port is skipped, unless a session frees one: the kernel would
/// try all its ports in vain, which takes a millisecond per 12,000 ports.
const FULL_SKIP_TIME: Duration = Duration::from_secs(1);

/// The local addresses of connections to one broker; empty if the broker has a unix socket.
#[derive(Debug)]
pub(crate) struct LocalAddresses {
    pub(crate) configured: Box<[IpAddr]>,
    /// IPv4 first, then IPv6.
    all: Box<[Arc<LocalAddress>]>,
    /// How many of `all` are IPv4.
    v4_count: usize,
    /// Counts dials, so that each begins with the next address.
    next: AtomicUsize,
    /// The origin of `full_until`.
    started: Instant,
    /// When the last warning was logged.
    warned: Mutex<Option<Instant>>,
    pool: Arc<str>,
}

/// One local address.
#[derive(Debug)]
pub(crate) struct LocalAddress {
    /// `None` if the kernel chooses it.
    pub(crate) address: Option<IpAddr>,
    ports: ScopedSample<IntGauge>,
    /// Until when it is skipped, in milliseconds since `started`; 0 if it is not skipped.
    full_until: AtomicU64,
    /// Whether this host did not have the address when it was last tried.
    is_foreign: AtomicBool,
}

/// A port in use on a local address, for the metrics. Dropping it frees the port.
#[derive(Debug)]
pub(crate) struct LocalPort(Arc<LocalAddress>);

impl LocalAddresses {
    pub(crate) fn new(pool: &config::Pool, to: &Address, metrics: &UpstreamMetrics) -> Self {
        let of_family = |is_of: fn(&IpAddr) -> bool| {
            let all = pool.source_addresses.iter().copied();
            let sources: Vec<_> = all.filter(is_of).map(Some).collect();
            // Addresses of only the other family could not reach the broker at all.
            if sources.is_empty() { vec![None] } else { sources }
        };
        let (mut v4, mut v6) = (of_family(IpAddr::is_ipv4), of_family(IpAddr::is_ipv6));
        match to {
            Address::Ip(SocketAddr::V4(_)) => v6.clear(),
            Address::Ip(SocketAddr::V6(_)) => v4.clear(),
            Address::Host(..) => {}
            Address::Unix(_) => (v4, v6) = (Vec::new(), Vec::new()),
        }
        let sources = v4.iter().chain(&v6).map(|address| {
            let label = address.map_or(AUTO_LABEL.to_owned(), |address| address.to_string());
            Arc::new(LocalAddress {
                address: *address,
                ports: metrics.ports_active(&label),
                full_until: AtomicU64::new(0),
                is_foreign: AtomicBool::new(false),
            })
        });
        Self {
            configured: pool.source_addresses.clone().into(),
            all: sources.collect(),
            v4_count: v4.len(),
            next: AtomicUsize::new(0),
            started: Instant::now(),
            warned: Mutex::default(),
            pool: pool.name.clone(),
        }
    }

    /// The addresses from which `to` can be reached, each once; every call begins with the next
    /// one.
    pub(crate) fn in_turn(&self, to: SocketAddr) -> impl Iterator<Item = &Arc<LocalAddress>> {
        let sources = self.of_family(to);
        let first = match sources.len() {
            0 | 1 => 0,
            count => self.next.fetch_add(1, Ordering::Relaxed) % count,
        };
        sources[first..].iter().chain(&sources[..first])
    }

    /// The port of a connection from `local` to `peer` that another process has dialled; `None` if
    /// this configuration has no such local address.
    pub(crate) fn port_in_use(&self, local: IpAddr, peer: SocketAddr) -> Option<LocalPort> {
        let sources = self.of_family(peer);
        let is_own = |source: &&Arc<LocalAddress>| source.address == Some(local);
        let is_any = |source: &&Arc<LocalAddress>| source.address.is_none();
        let source = sources.iter().find(is_own).or_else(|| sources.iter().find(is_any));
        source.map(LocalPort::new)
    }

    /// Whether `source` may have a free port towards the broker.
    pub(crate) fn may_have_ports(&self, source: &LocalAddress, now: Instant) -> bool {
        source.full_until.load(Ordering::Relaxed) <= self.millis(now)
    }

    /// Records that `source` has no free port towards the broker.
    pub(crate) fn set_full(&self, source: &LocalAddress, now: Instant) {
        source.is_foreign.store(false, Ordering::Relaxed);
        source.full_until.store(self.millis(now + FULL_SKIP_TIME), Ordering::Relaxed);
    }

    /// The error when no address has a free port.
    pub(crate) fn exhausted(&self, to: SocketAddr) -> NoPort {
        let configured = self.of_family(to).iter().filter(|source| source.address.is_some());
        let (foreign, full): (Vec<_>, Vec<_>) =
            configured.partition(|source| source.is_foreign.load(Ordering::Relaxed));
        let list = |sources: Vec<&Arc<LocalAddress>>| {
            sources.iter().filter_map(|one| one.address).collect()
        };
        NoPort { pool: self.pool.clone(), to, full: list(full), foreign: list(foreign) }
    }

    /// Whether a warning about a shortage may be logged again.
    pub(crate) fn is_warning_due(&self, now: Instant) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.is_none_or(|at| now.saturating_duration_since(at) >= WARN_INTERVAL);
        if due {
            *warned = Some(now);
        }
        due
    }

    fn of_family(&self, to: SocketAddr) -> &[Arc<LocalAddress>] {
        let (v4, v6) = self.all.split_at(self.v4_count);
        if to.is_ipv4() { v4 } else { v6 }
    }

    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }
}

impl LocalPort {
    /// Counts the port of a new connection from `source`.
    pub(crate) fn new(source: &Arc<LocalAddress>) -> Self {
        source.ports.inc();
        Self(source.clone())
    }
}

impl Drop for LocalPort {
    fn drop(&mut self) {
        self.0.ports.dec();
        self.0.full_until.store(0, Ordering::Relaxed);
    }
}

impl LocalAddress {
    /// Records why a connection from this address could not be started.
    ///
    /// # Errors
    /// If other local addresses would meet the same error.
    pub(crate) fn record_error(&self, error: ConnectError) -> Result<(), io::Error> {
        let is_foreign = match error {
            ConnectError::NoPort => false,
            ConnectError::NotLocal => true,
            ConnectError::Failed(error) => return Err(error),
        };
        self.is_foreign.store(is_foreign, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config::Config, metrics::Metrics};

    /// The local addresses of a broker at `address`, in a pool with `list` as its
    /// `source_addresses`.
    fn sources(address: &str, list: &str) -> LocalAddresses {
        let text = format!(
            "listeners: [ {{ name: mqtt, bind: \"127.0.0.1:0\", pool: p }} ]\n\
             pools: [ {{ name: p, source_addresses: {list}, \
             upstreams: [ {{ name: b, address: \"{address}\" }} ] }} ]"
        );
        let config = Config::parse(&text, Path::new("test.yaml"), &|_| None).unwrap();
        let pool = &config.pools[0];
        LocalAddresses::new(pool, &pool.upstreams[0].address, &Metrics::new().upstream("p", "b"))
    }

    const TO: &str = "10.0.0.7:1883";

    /// The last parts of the addresses that a dial would try at `now`.
    fn tried(sources: &LocalAddresses, now: Instant) -> Vec<u8> {
        let to = TO.parse().unwrap();
        let last = |source: &Arc<LocalAddress>| match source.address {
            Some(IpAddr::V4(v4)) => v4.octets()[3],
            _ => 0,
        };
        sources.in_turn(to).filter(|source| sources.may_have_ports(source, now)).map(last).collect()
    }

    fn first(sources: &LocalAddresses) -> &Arc<LocalAddress> {
        &sources.all[0]
    }

    #[test]
    fn each_dial_begins_one_further_on() {
        let sources = sources(TO, "[ 10.0.0.1, 10.0.0.2, 10.0.0.3 ]");
        let now = Instant::now();
        for order in [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]] {
            assert_eq!(tried(&sources, now), order);
        }
    }

    #[test]
    fn a_full_address_is_skipped_for_a_second_or_until_a_port_is_free() {
        let sources = sources(TO, "[ 10.0.0.1, 10.0.0.2 ]");
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        sources.set_full(first(&sources), at(0));
        assert_eq!(tried(&sources, at(0)), [2]);
        assert_eq!(tried(&sources, at(990)), [2]);
        assert_eq!(tried(&sources, at(1010)), [1, 2]);

        let port = LocalPort::new(first(&sources));
        sources.set_full(first(&sources), at(2000));
        assert_eq!(tried(&sources, at(2000)), [2]);
        drop(port);
        assert_eq!(tried(&sources, at(2000)), [1, 2]);
    }

    #[test]
    fn the_message_says_which_addresses_are_full() {
        let said = |sources: &LocalAddresses| sources.exhausted(TO.parse().unwrap()).to_string();
        let advice =
            "add addresses to source_addresses of pool p, or widen net.ipv4.ip_local_port_range";
        assert_eq!(said(&sources(TO, "[]")), format!("no local port left to reach {TO}: {advice}"));
        let sources = sources(TO, "[ 10.0.0.1, 10.0.0.2, 10.0.0.3, \"::1\" ]");
        let [one, two, three] = &sources.all[..] else { panic!("{sources:?}") };
        assert_eq!(
            said(&sources),
            format!("no local port left to reach {TO} from 10.0.0.1, 10.0.0.2, 10.0.0.3: {advice}")
        );
        two.record_error(ConnectError::NotLocal).unwrap();
        assert_eq!(
            said(&sources),
            format!(
                "no local port left to reach {TO} from 10.0.0.1, 10.0.0.3 (and this host does not \
                 have 10.0.0.2): {advice}"
            )
        );
        one.record_error(ConnectError::NotLocal).unwrap();
        three.record_error(ConnectError::NotLocal).unwrap();
        assert_eq!(
            said(&sources),
            format!(
                "no local address to reach {TO} from: this host does not have 10.0.0.1, 10.0.0.2, \
                 10.0.0.3; correct source_addresses of pool p"
            )
        );
        // Since then, the host has been given one of them, and its ports are in use.
        sources.set_full(one, Instant::now());
        assert!(said(&sources).contains(" from 10.0.0.1 (and this host does not have 10.0.0.2, "));
    }

    #[test]
    fn warnings_are_rate_limited() {
        let sources = sources(TO, "[]");
        let now = Instant::now();
        let due = |seconds| sources.is_warning_due(now + Duration::from_secs(seconds));
        assert_eq!([0, 0, 4, 5, 9, 10].map(due), [true, false, false, true, false, true]);
    }
}
