//! The Prometheus metrics, in a registry of their own.

use std::{collections::HashMap, time::Duration};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
    core::{Collector, MetricVec, MetricVecBuilder},
    process_collector::ProcessCollector,
};

use super::entry::{EndBy, EndCause, EndPhase, RouteKind, named};

/// All families. Cloning it shares them.
///
/// No label ever carries what a client chose: listeners, pools and brokers are named by the
/// configuration, everything else is one of our own words.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    connections: IntCounterVec,
    connections_active: IntGaugeVec,
    sessions: IntCounterVec,
    session_ends: IntCounterVec,
    /// The client that leaves when it is done: by far the most common end, looked up once.
    left: IntCounter,
    rejects: IntCounterVec,
    handshake: HistogramVec,
    upstream_connect: HistogramVec,
    connack: HistogramVec,
    connacks: IntCounterVec,
    upstream_sessions_active: IntGaugeVec,
    upstream_up: IntGaugeVec,
    upstream_tries: IntCounterVec,
    upstream_ejections: IntCounterVec,
    health_checks: IntCounterVec,
    admission_waiting: IntGaugeVec,
    admission_wait: HistogramVec,
    pool_failing_open: IntGaugeVec,
    discovery_lookups: IntCounterVec,
    discovery_changes: IntCounterVec,
    routes: IntCounterVec,
    bytes: IntCounterVec,
    accept_errors: IntCounterVec,
    access_log_dropped: IntCounter,
}

/// Seconds. The handshake and the CONNACK: half a millisecond on a LAN, to the 10 s that the
/// deadlines allow by default.
const HANDSHAKE_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Seconds. A dial: a tenth of a millisecond on a LAN, to a few SYNs lost (1 s, then 3 s).
const DIAL_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Seconds. A turn at a broker's door: none, to the minutes that a whole fleet takes.
const WAIT_BUCKETS: &[f64] =
    &[0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];

impl Metrics {
    pub fn new() -> Self {
        let family = Families(Registry::new());
        made(family.0.register(Box::new(ProcessCollector::for_self())));
        let build = family.gauges("build_info", "Always 1; the version that runs.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);

        let (listener, upstream) = (&["listener"], &["pool", "upstream"]);
        let session_ends = family.counters(
            "session_ends_total",
            "Connections ended: who ended them, in which phase and why.",
            &["by", "phase", "cause"],
        );
        let left = session_ends.with_label_values(&[
            EndBy::Client.as_str(),
            EndPhase::Relay.as_str(),
            EndCause::Closed.as_str(),
        ]);
        Self {
            connections: family.counters("connections_total", "Connections accepted.", listener),
            connections_active: family.gauges(
                "connections_active",
                "Connections open now.",
                listener,
            ),
            sessions: family.counters(
                "sessions_total",
                "Clients connected to a broker, by protocol level.",
                &["listener", "version"],
            ),
            session_ends,
            left,
            rejects: family.counters(
                "rejects_total",
                "Connections that ended before they became sessions, by cause.",
                &["reason"],
            ),
            handshake: family.histograms(
                "handshake_seconds",
                "From accept to the whole CONNECT.",
                listener,
                HANDSHAKE_BUCKETS,
            ),
            upstream_connect: family.histograms(
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
            upstream_sessions_active: family.gauges(
                "upstream_sessions_active",
                "Sessions on a broker now.",
                upstream,
            ),
            upstream_up: family.gauges(
                "upstream_up",
                "1 while checks, clients and the operator have nothing against a broker, else 0.",
                upstream,
            ),
            upstream_tries: family.counters(
                "upstream_tries_total",
                "CONNECTs that a broker was chosen for, by what became of them.",
                &["pool", "upstream", "outcome"],
            ),
            upstream_ejections: family.counters(
                "upstream_ejections_total",
                "Times a broker was ejected because it failed clients.",
                upstream,
            ),
            health_checks: family.counters(
                "health_checks_total",
                "Probes of a broker, by outcome.",
                &["pool", "upstream", "outcome"],
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
            pool_failing_open: family.gauges(
                "pool_failing_open",
                "1 while so many brokers look down that all are tried, else 0.",
                &["pool"],
            ),
            discovery_lookups: family.counters(
                "discovery_lookups_total",
                "Look-ups of a pool's brokers in DNS, by outcome.",
                &["pool", "outcome"],
            ),
            discovery_changes: family.counters(
                "discovery_changes_total",
                "Brokers that a look-up in DNS added, removed or changed.",
                &["pool", "change"],
            ),
            routes: family.counters("routes_total", "Brokers chosen, by why.", &["pool", "route"]),
            bytes: family.counters(
                "bytes_total",
                "Bytes relayed; in is from clients, out is to them.",
                &["pool", "upstream", "direction"],
            ),
            accept_errors: family.counters(
                "accept_errors_total",
                "Failed accepts, by kind.",
                &["kind"],
            ),
            access_log_dropped: family.counter(
                "access_log_dropped_total",
                "Access log lines lost because a log could not be written fast enough.",
            ),
            registry: family.0,
        }
    }

    /// The counters of one listener, looked up once.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        let of = &[listener];
        ListenerMetrics {
            connections_total: self.connections.with_label_values(of),
            connections_active: self.connections_active.with_label_values(of),
            sessions_by_version: ["3", "4", "5"]
                .map(|version| self.sessions.with_label_values(&[listener, version])),
            handshake_seconds: self.handshake.with_label_values(of),
        }
    }

    /// The counters of one pool, looked up once.
    pub fn pool(&self, pool: &str) -> PoolMetrics {
        PoolMetrics {
            routes: RouteKind::ALL
                .iter()
                .map(|route| self.routes.with_label_values(&[pool, route.as_str()]))
                .collect(),
            failing_open: self.pool_failing_open.with_label_values(&[pool]),
            discovery_lookups: self.discovery_lookups.clone(),
            discovery_changes: self.discovery_changes.clone(),
            pool: pool.into(),
        }
    }

    /// The counters of one broker of a pool, looked up once.
    pub fn upstream(&self, pool: &str, upstream: &str) -> UpstreamMetrics {
        let of = &[pool, upstream];
        UpstreamMetrics {
            connect_seconds: self.upstream_connect.with_label_values(of),
            connack_seconds: self.connack.with_label_values(of),
            sessions_active: self.upstream_sessions_active.with_label_values(of),
            up: self.upstream_up.with_label_values(of),
            bytes_in: self.bytes.with_label_values(&[pool, upstream, "in"]),
            bytes_out: self.bytes.with_label_values(&[pool, upstream, "out"]),
            tries: TryOutcome::ALL
                .iter()
                .map(|outcome| {
                    self.upstream_tries.with_label_values(&[pool, upstream, outcome.as_str()])
                })
                .collect(),
            ejections: self.upstream_ejections.with_label_values(of),
            health_checks: self.health_checks.clone(),
            admission_waiting: self.admission_waiting.clone(),
            admission_wait: self.admission_wait.clone(),
            let_in: ["accepted", "success"]
                .map(|reason| (reason, self.connacks.with_label_values(&[pool, upstream, reason]))),
            connacks: self.connacks.clone(),
            pool: pool.into(),
            upstream: upstream.into(),
        }
    }

    /// Takes the counters of a broker that is gone for good out of what is told, so that brokers
    /// that come and go do not pile up there.
    pub fn forget_upstream(&self, pool: &str, upstream: &str) {
        let of = [("pool", pool), ("upstream", upstream)];
        for family in [&self.connacks, &self.upstream_tries, &self.upstream_ejections] {
            forget(family, &of);
        }
        for family in [&self.health_checks, &self.bytes] {
            forget(family, &of);
        }
        for family in [&self.upstream_sessions_active, &self.upstream_up, &self.admission_waiting] {
            forget(family, &of);
        }
        for family in [&self.upstream_connect, &self.connack, &self.admission_wait] {
            forget(family, &of);
        }
    }

    /// Counts the end of a connection.
    pub fn count_end(&self, by: EndBy, phase: EndPhase, cause: EndCause) {
        if (by, phase, cause) == (EndBy::Client, EndPhase::Relay, EndCause::Closed) {
            return self.left.inc();
        }
        self.session_ends.with_label_values(&[by.as_str(), phase.as_str(), cause.as_str()]).inc();
    }

    /// Counts a connection turned away; `reason` is one of a fixed set of words.
    pub fn count_reject(&self, reason: &'static str) {
        self.rejects.with_label_values(&[reason]).inc();
    }

    /// Counts a failed accept; `kind` is one of a fixed set of words.
    pub fn count_accept_error(&self, kind: &'static str) {
        self.accept_errors.with_label_values(&[kind]).inc();
    }

    /// The counter of lost access log lines, for [`super::AccessLogs::open`].
    pub fn access_log_dropped(&self) -> IntCounter {
        self.access_log_dropped.clone()
    }

    /// Everything, in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            // Only a family without a sample can fail here, and the registry leaves those out.
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// One listener's metrics.
#[derive(Clone)]
pub struct ListenerMetrics {
    pub connections_total: IntCounter,
    pub connections_active: IntGauge,
    pub handshake_seconds: Histogram,
    sessions_by_version: [IntCounter; 3],
}

impl ListenerMetrics {
    /// Counts a session of protocol level 3, 4 or 5.
    pub fn count_session(&self, version: u8) {
        let at = usize::from(version).checked_sub(3);
        if let Some(sessions) = at.and_then(|at| self.sessions_by_version.get(at)) {
            sessions.inc();
        }
    }
}

/// One pool's metrics.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    routes: Box<[IntCounter]>,
    /// 1 while the verdicts on the brokers are distrusted.
    pub failing_open: IntGauge,
    discovery_lookups: IntCounterVec,
    discovery_changes: IntCounterVec,
    pool: Box<str>,
}

impl PoolMetrics {
    pub fn count_route(&self, route: RouteKind) {
        if let Some(routes) = self.routes.get(route as usize) {
            routes.inc();
        }
    }

    /// Counts a look-up in DNS; `outcome` is `ok`, `empty` or `failed`.
    pub fn count_lookup(&self, outcome: &'static str) {
        self.discovery_lookups.with_label_values(&[&*self.pool, outcome]).inc();
    }

    /// Counts brokers that a look-up `added`, `removed`, or whose weight, rank or address it `changed`.
    pub fn count_discovered(&self, change: &'static str, count: usize) {
        self.discovery_changes.with_label_values(&[&*self.pool, change]).inc_by(count as u64);
    }
}

named! {
    /// What became of a CONNECT that a broker was chosen for.
    pub enum TryOutcome {
        Accepted = "accepted",
        /// A CONNACK other than "accepted".
        Refused = "refused",
        ConnectFailure = "connect_failure",
        ConnectTimeout = "connect_timeout",
        /// The broker closed, or was silent for `connack_timeout`.
        NoConnack = "no_connack",
        /// The client left, or the proxy shut down, before it was known.
        Abandoned = "abandoned",
    }
}

/// One broker's metrics.
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
    health_checks: IntCounterVec,
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

/// Takes the samples that have these labels out of a family.
fn forget<T: MetricVecBuilder>(family: &MetricVec<T>, of: &[(&str, &str)]) {
    for collected in family.collect() {
        for metric in collected.get_metric() {
            let labels: HashMap<_, _> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if of.iter().all(|(name, value)| labels.get(name) == Some(value)) {
                // Only one that is gone already could not be removed.
                let _ = family.remove(&labels);
            }
        }
    }
}

/// Makes families and registers them.
///
/// A family's name, labels and buckets are constants of this file: that they are valid and unlike
/// each other is known before the program is shipped, by any test that makes a [`Metrics`].
struct Families(Registry);

impl Families {
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(made(IntCounter::with_opts(opts(name, help))))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(made(IntCounterVec::new(opts(name, help), labels)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(made(IntGaugeVec::new(opts(name, help), labels)))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.add(made(HistogramVec::new(opts, labels)))
    }

    fn add<T: Collector + Clone + 'static>(&self, family: T) -> T {
        made(self.0.register(Box::new(family.clone())));
        family
    }
}

/// Every family of ours begins with `mqtt_lb_`.
fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("mqtt_lb")
}

fn made<T>(family: prometheus::Result<T>) -> T {
    family.expect("a metric of this file has a valid name, labels and buckets")
}
