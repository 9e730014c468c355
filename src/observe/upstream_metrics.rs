//! The metrics of brokers, which come and go.

use std::{collections::HashSet, sync::Arc, time::Duration};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{
    entry::named,
    families::{Families, HANDSHAKE_BUCKETS, forget},
    registrations::{Key, Registration},
};

named! {
    /// What became of a CONNECT that a broker was chosen for.
    pub enum TryOutcome {
        Accepted = "accepted",
        /// A CONNACK other than "accepted".
        Refused = "refused",
        ConnectFailure = "connect_failure",
        ConnectTimeout = "connect_timeout",
        /// This host had no local port left for it.
        NoPort = "no_port",
        /// The broker closed, or was silent for `connack_timeout`.
        NoConnack = "no_connack",
        /// The client left, or the proxy shut down, before it was known.
        Abandoned = "abandoned",
    }
}

/// One broker's metrics.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    _held: Arc<Registration>,
    pub connect_seconds: Histogram,
    pub connack_seconds: Histogram,
    pub sessions_active: IntGauge,
    pub up: IntGauge,
    /// Bytes from clients.
    pub bytes_in: IntCounter,
    /// Bytes to clients.
    pub bytes_out: IntCounter,
    pub(super) tries: Box<[IntCounter]>,
    pub ejections: IntCounter,
    health_checks: IntCounterVec,
    ports_active: IntGaugeVec,
    admission_waiting: IntGaugeVec,
    admission_wait: HistogramVec,
    /// The names of code 0, in 3.x and in 5.0, looked up once.
    let_in: [(&'static str, IntCounter); 2],
    connacks: IntCounterVec,
    pool: Box<str>,
    upstream: Box<str>,
}

impl UpstreamMetrics {
    pub fn count_try(&self, outcome: TryOutcome) {
        if let Some(tries) = self.tries.get(outcome as usize) {
            tries.inc();
        }
    }

    /// Counts a probe; `outcome` is one of a fixed set of words.
    pub fn count_check(&self, outcome: &'static str) {
        self.health_checks.with_label_values(&[&*self.pool, &*self.upstream, outcome]).inc();
    }

    /// How many sessions have a port of this local address, which the configuration names.
    pub fn ports_active(&self, source: &str) -> IntGauge {
        self.ports_active.with_label_values(&[&*self.pool, &*self.upstream, source])
    }

    /// How many wait for admission, and how long those who were let in have waited.
    pub fn admission(&self) -> (IntGauge, Histogram) {
        let of = &[&*self.pool, &*self.upstream];
        (self.admission_waiting.with_label_values(of), self.admission_wait.with_label_values(of))
    }

    /// Counts a CONNACK and the time it took; `reason` is the name of its code, one of the
    /// standard's, so that a broker cannot make up labels.
    pub fn count_connack(&self, reason: &'static str, took: Duration) {
        self.connack_seconds.observe(took.as_secs_f64());
        if let Some((_, connacks)) = self.let_in.iter().find(|(name, _)| *name == reason) {
            return connacks.inc();
        }
        self.connacks.with_label_values(&[&*self.pool, &*self.upstream, reason]).inc();
    }
}

/// Seconds. A dial: a tenth of a millisecond on a LAN, to a few SYNs lost (1 s, then 3 s).
const DIAL_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Seconds. A turn at a broker's door: none, to the minutes that a whole fleet takes.
const WAIT_BUCKETS: &[f64] =
    &[0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];

/// The families that have a sample for each broker.
#[derive(Clone)]
pub(super) struct UpstreamFamilies {
    connect: HistogramVec,
    connack: HistogramVec,
    pub(super) connacks: IntCounterVec,
    sessions_active: IntGaugeVec,
    up: IntGaugeVec,
    tries: IntCounterVec,
    ejections: IntCounterVec,
    health_checks: IntCounterVec,
    ports_active: IntGaugeVec,
    admission_waiting: IntGaugeVec,
    admission_wait: HistogramVec,
    bytes: IntCounterVec,
}

impl UpstreamFamilies {
    pub(super) fn new(family: &Families) -> Self {
        let upstream = &["pool", "upstream"];
        Self {
            connect: family.histograms(
                "upstream_connect_seconds",
                "Dials that succeeded.",
                upstream,
                DIAL_BUCKETS,
            ),
            connack: family.histograms(
                "connack_seconds",
                "From CONNECT sent to CONNACK seen.",
                upstream,
                HANDSHAKE_BUCKETS,
            ),
            connacks: family.counters(
                "connacks_total",
                "CONNACKs seen, by reason.",
                &["pool", "upstream", "reason"],
            ),
            sessions_active: family.gauges(
                "upstream_sessions_active",
                "Sessions on a broker now.",
                upstream,
            ),
            up: family.gauges(
                "upstream_up",
                "1 while checks, clients and the operator have nothing against a broker, else 0.",
                upstream,
            ),
            tries: family.counters(
                "upstream_tries_total",
                "CONNECTs that a broker was chosen for, by what became of them.",
                &["pool", "upstream", "outcome"],
            ),
            ejections: family.counters(
                "upstream_ejections_total",
                "Times a broker was ejected because it failed clients.",
                upstream,
            ),
            health_checks: family.counters(
                "health_checks_total",
                "Probes of a broker, by outcome.",
                &["pool", "upstream", "outcome"],
            ),
            ports_active: family.gauges(
                "upstream_ports_active",
                "Local ports in use towards a broker, by local address, each of which has as many as \
                 net.ipv4.ip_local_port_range says (28232 by default).",
                &["pool", "upstream", "source"],
            ),
            admission_waiting: family.gauges(
                "admission_waiting",
                "CONNECTs that wait for their turn at a broker now.",
                upstream,
            ),
            admission_wait: family.histograms(
                "admission_wait_seconds",
                "How long CONNECTs waited for their turn at a broker.",
                upstream,
                WAIT_BUCKETS,
            ),
            bytes: family.counters(
                "bytes_total",
                "Bytes relayed; in is from clients, out is to them.",
                &["pool", "upstream", "direction"],
            ),
        }
    }

    /// The counters of one broker, looked up once.
    pub(super) fn of(
        &self,
        pool: &str,
        upstream: &str,
        held: Arc<Registration>,
    ) -> UpstreamMetrics {
        let of = &[pool, upstream];
        UpstreamMetrics {
            _held: held,
            connect_seconds: self.connect.with_label_values(of),
            connack_seconds: self.connack.with_label_values(of),
            sessions_active: self.sessions_active.with_label_values(of),
            up: self.up.with_label_values(of),
            bytes_in: self.bytes.with_label_values(&[pool, upstream, "in"]),
            bytes_out: self.bytes.with_label_values(&[pool, upstream, "out"]),
            tries: TryOutcome::ALL
                .iter()
                .map(|outcome| self.tries.with_label_values(&[pool, upstream, outcome.as_str()]))
                .collect(),
            ejections: self.ejections.with_label_values(of),
            health_checks: self.health_checks.clone(),
            ports_active: self.ports_active.clone(),
            admission_waiting: self.admission_waiting.clone(),
            admission_wait: self.admission_wait.clone(),
            let_in: ["accepted", "success"]
                .map(|reason| (reason, self.connacks.with_label_values(&[pool, upstream, reason]))),
            connacks: self.connacks.clone(),
            pool: pool.into(),
            upstream: upstream.into(),
        }
    }

    /// Removes the samples of subjects that have gone.
    pub(super) fn forget(&self, gone: &HashSet<Key<'_>>) {
        for family in [&self.connacks, &self.tries, &self.ejections] {
            forget(family, gone);
        }
        for family in [&self.health_checks, &self.bytes] {
            forget(family, gone);
        }
        for family in [&self.sessions_active, &self.up, &self.ports_active, &self.admission_waiting]
        {
            forget(family, gone);
        }
        for family in [&self.connect, &self.connack, &self.admission_wait] {
            forget(family, gone);
        }
    }
}
