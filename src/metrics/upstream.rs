//! The metrics of brokers.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::{
    ends::CountsByLabel,
    families::HANDSHAKE_BUCKETS,
    owned::{Declarations, Family, Registration, ScopedSample},
};
use crate::labels::named;

named! {
    /// The outcome of a CONNECT that a broker was chosen for.
    pub enum TryOutcome {
        Accepted = "accepted",
        /// A CONNACK other than "accepted".
        Refused = "refused",
        ConnectFailure = "connect_failure",
        ConnectTimeout = "connect_timeout",
        /// This host was out of local ports.
        NoPort = "no_port",
        /// The broker closed, or was silent for `connack_timeout`.
        NoConnack = "no_connack",
        /// The client left, or the proxy shut down, before the outcome was known.
        Abandoned = "abandoned",
    }
}

/// One broker's metrics, exposed while this or another one with the same name exists.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    pub connect_seconds: Histogram,
    pub connack_seconds: Histogram,
    pub sessions_active: IntGauge,
    pub up: IntGauge,
    /// Bytes from clients.
    pub bytes_in: IntCounter,
    /// Bytes to clients.
    pub bytes_out: IntCounter,
    tries: Box<[IntCounter]>,
    pub ejections: IntCounter,
    /// The names of code 0, in 3.x and in 5.0, looked up once.
    accepted: [(&'static str, IntCounter); 2],
    families: UpstreamFamilies,
    registration: Registration,
}

impl UpstreamMetrics {
    pub fn count_try(&self, outcome: TryOutcome) {
        if let Some(tries) = self.tries.get(outcome as usize) {
            tries.inc();
        }
    }

    /// CONNECTs that the broker was chosen for, with this outcome.
    pub(crate) fn try_count(&self, outcome: TryOutcome) -> u64 {
        self.tries.get(outcome as usize).map_or(0, IntCounter::get)
    }

    /// Counts a probe; `outcome` is from a fixed set.
    pub fn count_check(&self, outcome: &'static str) {
        self.registration.sample(self.families.health_checks, Some(outcome)).inc();
    }

    /// Sessions that use a port of this configured local address.
    pub fn ports_active(&self, source: &str) -> ScopedSample<IntGauge> {
        self.registration.scoped_sample(self.families.ports_active, Some(source))
    }

    /// CONNECTs in the admission queue, and how long the admitted ones waited.
    pub fn admission(&self) -> (ScopedSample<IntGauge>, ScopedSample<Histogram>) {
        let UpstreamFamilies { admission_waiting, admission_wait, .. } = self.families;
        let of = &self.registration;
        (of.scoped_sample(admission_waiting, None), of.scoped_sample(admission_wait, None))
    }

    /// CONNECTs that the broker was chosen for, by outcome.
    pub(crate) fn try_counts(&self) -> CountsByLabel {
        let outcomes = TryOutcome::ALL.iter().zip(&self.tries);
        let counts = outcomes.map(|(outcome, tries)| (outcome.as_str().to_owned(), tries.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// CONNACKs by reason.
    pub(crate) fn connack_counts(&self) -> CountsByLabel {
        let connacks = self.registration.by_word(self.families.connacks);
        let counts = connacks.into_iter().map(|(reason, connacks)| (reason, connacks.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Counts a CONNACK and the time it took; `reason` is the standard's name of its code, so that
    /// a broker cannot invent labels.
    pub fn count_connack(&self, reason: &'static str, took: Duration) {
        self.connack_seconds.observe(took.as_secs_f64());
        if let Some((_, connacks)) = self.accepted.iter().find(|(name, _)| *name == reason) {
            return connacks.inc();
        }
        self.registration.sample(self.families.connacks, Some(reason)).inc();
    }
}

/// Bucket bounds in seconds for a dial: from a tenth of a millisecond on a LAN to a few lost SYNs
/// (1 s, then 3 s).
const DIAL_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Bucket bounds in seconds for the wait for admission: from none to the minutes that a whole fleet
/// takes.
const ADMISSION_WAIT_BUCKETS: &[f64] =
    &[0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];

/// The families that have a sample for each broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpstreamFamilies {
    connect: Family<Histogram>,
    connack: Family<Histogram>,
    connacks: Family<IntCounter>,
    sessions_active: Family<IntGauge>,
    up: Family<IntGauge>,
    tries: Family<IntCounter>,
    ejections: Family<IntCounter>,
    health_checks: Family<IntCounter>,
    ports_active: Family<IntGauge>,
    admission_waiting: Family<IntGauge>,
    admission_wait: Family<Histogram>,
    bytes: Family<IntCounter>,
}

impl UpstreamFamilies {
    #[expect(clippy::too_many_lines, reason = "a table: the help text of each family")]
    pub(super) fn new(families: &mut Declarations) -> Self {
        let upstream: &[_] = &["pool", "upstream"];
        Self {
            connect: families.add_with_buckets(
                "upstream_connect_seconds",
                "Time to connect to a broker, of dials that succeeded.",
                upstream,
                DIAL_BUCKETS,
            ),
            connack: families.add_with_buckets(
                "connack_seconds",
                "Time from the CONNECT sent to the CONNACK received.",
                upstream,
                HANDSHAKE_BUCKETS,
            ),
            connacks: families.add(
                "connacks_total",
                "CONNACKs received, by reason.",
                &["pool", "upstream", "reason"],
            ),
            sessions_active: families.add(
                "upstream_sessions_active",
                "Sessions on a broker now.",
                upstream,
            ),
            up: families.add(
                "upstream_up",
                "1 while a broker is up: not found down by checks, ejected, or taken out by the operator; else 0.",
                upstream,
            ),
            tries: families.add(
                "upstream_tries_total",
                "CONNECTs that a broker was chosen for, by outcome.",
                &["pool", "upstream", "outcome"],
            ),
            ejections: families.add(
                "upstream_ejections_total",
                "Times a broker was ejected because it failed clients.",
                upstream,
            ),
            health_checks: families.add(
                "health_checks_total",
                "Probes of a broker, by outcome.",
                &["pool", "upstream", "outcome"],
            ),
            ports_active: families.add(
                "upstream_ports_active",
                "Local ports in use by sessions to a broker, by local address; each address has as many \
                 as net.ipv4.ip_local_port_range allows (28232 by default).",
                &["pool", "upstream", "source"],
            ),
            admission_waiting: families.add(
                "admission_waiting",
                "CONNECTs in a broker's admission queue now.",
                upstream,
            ),
            admission_wait: families.add_with_buckets(
                "admission_wait_seconds",
                "Time that admitted CONNECTs spent in a broker's admission queue.",
                upstream,
                ADMISSION_WAIT_BUCKETS,
            ),
            bytes: families.add(
                "bytes_total",
                "Bytes relayed: in from clients, out to clients.",
                &["pool", "upstream", "direction"],
            ),
        }
    }

    /// The metrics of one broker.
    pub(super) fn of(self, registration: Registration) -> UpstreamMetrics {
        let of = &registration;
        UpstreamMetrics {
            connect_seconds: of.sample(self.connect, None),
            connack_seconds: of.sample(self.connack, None),
            sessions_active: of.sample(self.sessions_active, None),
            up: of.sample(self.up, None),
            bytes_in: of.sample(self.bytes, Some("in")),
            bytes_out: of.sample(self.bytes, Some("out")),
            tries: TryOutcome::ALL
                .iter()
                .map(|outcome| of.sample(self.tries, Some(outcome.as_str())))
                .collect(),
            ejections: of.sample(self.ejections, None),
            accepted: ["accepted", "success"]
                .map(|reason| (reason, of.sample(self.connacks, Some(reason)))),
            families: self,
            registration,
        }
    }
}
