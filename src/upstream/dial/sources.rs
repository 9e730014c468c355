//! The local addresses that a broker is dialled from, in turn, and the ports in use there.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus::IntGauge;

use super::{error::DialError, no_port::NoPort};
use crate::{
    config::{self, Address},
    metrics::{ScopedSample, UpstreamMetrics},
    net::ConnectError,
    upstream::Endpoint,
};

/// How the metrics call a local address that the kernel chooses.
const AUTO: &str = "auto";

/// The shortest time between two warnings of one broker: a shortage fails every dial while it lasts.
const WARN_AGAIN: Duration = Duration::from_secs(5);

/// How long an address without a free port is left out of the turns, unless a session frees one: the
/// kernel looks at all its ports in vain, which takes a millisecond for each 12,000 of them.
const FULL_FOR: Duration = Duration::from_secs(1);

/// A broker's local addresses; none where it has a unix socket.
#[derive(Debug)]
pub(in crate::upstream) struct Sources {
    pub(in crate::upstream) configured: Box<[IpAddr]>,
    /// Those of IPv4, then those of IPv6.
    all: Box<[Arc<Source>]>,
    v4: usize,
    turn: AtomicUsize,
    started: Instant,
    warned: Mutex<Option<Instant>>,
    pool: Arc<str>,
}

/// A local address.
#[derive(Debug)]
pub(in crate::upstream) struct Source {
    /// `None`: as the kernel chooses.
    pub(in crate::upstream) address: Option<IpAddr>,
    ports: ScopedSample<IntGauge>,
    /// Millisecond of the sources' life up to which it is left out; 0: it is not.
    full_until: AtomicU64,
    /// Whether this host did not have it when it was last tried.
    is_elsewhere: AtomicBool,
}

/// A port of a local address that a connection has; free again when this is dropped.
#[derive(Debug)]
pub(in crate::upstream) struct Port(Arc<Source>);

impl Sources {
    pub(in crate::upstream) fn new(
        pool: &config::Pool,
        to: &Address,
        metrics: &UpstreamMetrics,
    ) -> Self {
        let of_family = |is_of: fn(&IpAddr) -> bool| {
            let all = pool.source_addresses.iter().copied();
            let sources: Vec<_> = all.filter(is_of).map(Some).collect();
            // From addresses of the other family alone it could not be reached at all.
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
            let label = address.map_or(AUTO.to_owned(), |address| address.to_string());
            Arc::new(Source {
                address: *address,
                ports: metrics.ports_active(&label),
                full_until: AtomicU64::new(0),
                is_elsewhere: AtomicBool::new(false),
            })
        });
        Self {
            configured: pool.source_addresses.clone().into(),
            all: sources.collect(),
            v4: v4.len(),
            turn: AtomicUsize::new(0),
            started: Instant::now(),
            warned: Mutex::default(),
            pool: pool.name.clone(),
        }
    }

    /// Those to reach `to` from, each once, beginning with the one whose turn it is.
    pub(in crate::upstream) fn in_turn(
        &self,
        to: SocketAddr,
    ) -> impl Iterator<Item = &Arc<Source>> {
        let sources = self.of_family(to);
        let first = match sources.len() {
            0 | 1 => 0,
            count => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        sources[first..].iter().chain(&sources[..first])
    }

    /// Whether `source` may have a port left for the broker.
    pub(in crate::upstream) fn may_have_ports(&self, source: &Source, now: Instant) -> bool {
        source.full_until.load(Ordering::Relaxed) <= self.millis(now)
    }

    /// Notes that `source` has no port left for the broker.
    pub(in crate::upstream) fn set_full(&self, source: &Source, now: Instant) {
        source.is_elsewhere.store(false, Ordering::Relaxed);
        source.full_until.store(self.millis(now + FULL_FOR), Ordering::Relaxed);
    }

    /// What is said when none was left.
    pub(in crate::upstream) fn exhausted(&self, to: SocketAddr) -> DialError {
        let configured = self.of_family(to).iter().filter(|source| source.address.is_some());
        let (elsewhere, full): (Vec<_>, Vec<_>) =
            configured.partition(|source| source.is_elsewhere.load(Ordering::Relaxed));
        let list =
            |sources: Vec<&Arc<Source>>| sources.iter().filter_map(|one| one.address).collect();
        DialError::NoPort(Box::new(NoPort {
            pool: self.pool.clone(),
            to,
            full: list(full),
            elsewhere: list(elsewhere),
        }))
    }

    /// Whether a shortage is to be warned of, which it is every so often.
    fn is_warning_due(&self, now: Instant) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.is_none_or(|at| now.saturating_duration_since(at) >= WARN_AGAIN);
        if due {
            *warned = Some(now);
        }
        due
    }

    fn of_family(&self, to: SocketAddr) -> &[Arc<Source>] {
        let (v4, v6) = self.all.split_at(self.v4);
        if to.is_ipv4() { v4 } else { v6 }
    }

    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }
}

impl Port {
    /// Counts the port of a connection that is made from there.
    pub(in crate::upstream) fn at(source: &Arc<Source>) -> Self {
        source.ports.inc();
        Self(source.clone())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.0.ports.dec();
        self.0.full_until.store(0, Ordering::Relaxed);
    }
}

impl Source {
    /// Notes why nothing can be reached from here.
    ///
    /// # Errors
    /// What it is no use to try the next one for.
    pub(in crate::upstream) fn pass_over(&self, error: ConnectError) -> Result<(), DialError> {
        let is_elsewhere = match error {
            ConnectError::NoPort => false,
            ConnectError::NotLocal => true,
            ConnectError::Failed(error) => return Err(DialError::Failed(error)),
        };
        self.is_elsewhere.store(is_elsewhere, Ordering::Relaxed);
        Ok(())
    }
}

impl Endpoint {
    /// Warns the operator that clients cannot be given this broker, unless that was done just now.
    pub fn warn_of(&self, shortage: &NoPort, now: Instant) {
        if self.sources.is_warning_due(now) {
            tracing::warn!(pool = %shortage.pool, upstream = %self.name, "{shortage}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config::Config, metrics::Metrics};

    /// The local addresses of a broker, of those of its pool.
    fn sources(address: &str, list: &str) -> Sources {
        let text = format!(
            "listeners: [ {{ name: mqtt, bind: \"127.0.0.1:0\", pool: p }} ]\n\
             pools: [ {{ name: p, source_addresses: {list}, \
             upstreams: [ {{ name: b, address: \"{address}\" }} ] }} ]"
        );
        let config = Config::parse(&text, Path::new("test.yaml"), &|_| None).unwrap();
        let pool = &config.pools[0];
        Sources::new(pool, &pool.upstreams[0].address, &Metrics::new().upstream("p", "b"))
    }

    const TO: &str = "10.0.0.7:1883";

    /// Those that a dial would try at `now`, by the last part of their addresses.
    fn tried(sources: &Sources, now: Instant) -> Vec<u8> {
        let to = TO.parse().unwrap();
        let last = |source: &Arc<Source>| match source.address {
            Some(IpAddr::V4(v4)) => v4.octets()[3],
            _ => 0,
        };
        sources.in_turn(to).filter(|source| sources.may_have_ports(source, now)).map(last).collect()
    }

    fn first(sources: &Sources) -> &Arc<Source> {
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
    fn a_full_one_is_left_out_for_a_second_or_until_a_port_is_free() {
        let sources = sources(TO, "[ 10.0.0.1, 10.0.0.2 ]");
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        sources.set_full(first(&sources), at(0));
        assert_eq!(tried(&sources, at(0)), [2]);
        assert_eq!(tried(&sources, at(990)), [2]);
        assert_eq!(tried(&sources, at(1010)), [1, 2]);

        let port = Port::at(first(&sources));
        sources.set_full(first(&sources), at(2000));
        assert_eq!(tried(&sources, at(2000)), [2]);
        drop(port);
        assert_eq!(tried(&sources, at(2000)), [1, 2]);
    }

    #[test]
    fn what_an_operator_is_told() {
        let said = |sources: &Sources| sources.exhausted(TO.parse().unwrap()).to_string();
        let advice =
            "add addresses to source_addresses of pool p, or widen net.ipv4.ip_local_port_range";
        assert_eq!(said(&sources(TO, "[]")), format!("no local port left to reach {TO}: {advice}"));
        let sources = sources(TO, "[ 10.0.0.1, 10.0.0.2, 10.0.0.3, \"::1\" ]");
        let [one, two, three] = &sources.all[..] else { panic!("{sources:?}") };
        assert_eq!(
            said(&sources),
            format!("no local port left to reach {TO} from 10.0.0.1, 10.0.0.2, 10.0.0.3: {advice}")
        );
        two.pass_over(ConnectError::NotLocal).unwrap();
        assert_eq!(
            said(&sources),
            format!(
                "no local port left to reach {TO} from 10.0.0.1, 10.0.0.3 (and this host does not \
                 have 10.0.0.2): {advice}"
            )
        );
        one.pass_over(ConnectError::NotLocal).unwrap();
        three.pass_over(ConnectError::NotLocal).unwrap();
        assert_eq!(
            said(&sources),
            format!(
                "no local address to reach {TO} from, as this host has none of 10.0.0.1, 10.0.0.2, \
                 10.0.0.3: correct source_addresses of pool p"
            )
        );
        // It has been given one of them since, whose ports are taken now.
        sources.set_full(one, Instant::now());
        assert!(said(&sources).contains(" from 10.0.0.1 (and this host does not have 10.0.0.2, "));
    }

    #[test]
    fn warnings_are_not_one_for_each_dial() {
        let sources = sources(TO, "[]");
        let now = Instant::now();
        let due = |seconds| sources.is_warning_due(now + Duration::from_secs(seconds));
        assert_eq!([0, 0, 4, 5, 9, 10].map(due), [true, false, false, true, false, true]);
    }
}
