//! The Prometheus metrics, in a registry of their own.

use std::{sync::Arc, time::SystemTime};

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder, process_collector::ProcessCollector,
};
use time::OffsetDateTime;

use super::{
    entry::{EndBy, EndCause, EndPhase, RouteKind, named},
    families::{Families, HANDSHAKE_BUCKETS, forget, made},
    registrations::{Registration, Registrations, Subject},
    upstream_metrics::{UpstreamFamilies, UpstreamMetrics},
};
use crate::config::CertificateFile;

named! {
    /// Why an accept failed.
    pub enum AcceptError {
        /// That connection's fault, or its network's.
        Aborted = "aborted",
        ProcessDescriptors = "process_descriptors",
        SystemDescriptors = "system_descriptors",
        Memory = "memory",
        Other = "other",
    }
}

/// All families. Cloning it shares them.
///
/// No label ever carries what a client chose: listeners, pools and brokers are named by the
/// configuration, everything else is one of our own words.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    registrations: Registrations,
    connections: IntCounterVec,
    connections_active: IntGaugeVec,
    sessions: IntCounterVec,
    pub(super) session_ends: IntCounterVec,
    /// The client that leaves when it is done: by far the most common end, looked up once.
    left: IntCounter,
    pub(super) rejects: IntCounterVec,
    handshake: HistogramVec,
    pub(super) upstreams: UpstreamFamilies,
    pool_failing_open: IntGaugeVec,
    pool_down_held: IntGaugeVec,
    discovery_lookups: IntCounterVec,
    discovery_changes: IntCounterVec,
    routes: IntCounterVec,
    accept_errors: Box<[IntCounter]>,
    certificate_expiry: IntGaugeVec,
    access_log_dropped: IntCounter,
    program_log_dropped: IntCounter,
    connections_limit: IntGauge,
    reloads_applied: IntCounter,
    reloads_refused: IntCounter,
    reloaded: IntGauge,
    pub(super) last_reload: IntGauge,
}

impl Metrics {
    pub fn new() -> Self {
        let family = Families(Registry::new());
        add_process(&family);
        let reloads = family.counters(
            "config_reloads_total",
            "Reloads of the configuration, by outcome.",
            &["outcome"],
        );
        let reloaded = family.gauge(
            "config_last_reload_successful",
            "1 while the last reload of the configuration, if any, was applied, else 0.",
        );
        reloaded.set(1);
        let last_reload = family.gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in use was taken up, at the start or by a reload, in Unix time.",
        );
        last_reload.set(now());

        // A counter is there before the first failure: its increase from nothing shows no rate.
        let accept_errors =
            family.counters("accept_errors_total", "Failed accepts, by kind.", &["kind"]);

        let listener = &["listener"];
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
            upstreams: UpstreamFamilies::new(&family),
            pool_failing_open: family.gauges(
                "pool_failing_open",
                "1 while so many brokers look down that all are tried, else 0.",
                &["pool"],
            ),
            pool_down_held: family.gauges(
                "pool_down_held",
                "Brokers that checks found down and whose sessions stay, as the fault may be a common one.",
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
            accept_errors: AcceptError::ALL
                .iter()
                .map(|kind| accept_errors.with_label_values(&[kind.as_str()]))
                .collect(),
            // Promtool wants seconds, so that `(… - time()) / 86400` are the days that are left.
            certificate_expiry: family.gauges(
                "certificate_expiry_timestamp_seconds",
                "When a certificate of a listener or a pool expires, in Unix time.",
                &["kind", "name", "file"],
            ),
            access_log_dropped: family.counter(
                "access_log_dropped_total",
                "Access log lines lost because a log could not be written fast enough.",
            ),
            program_log_dropped: family.counter(
                "program_log_dropped_total",
                "Lines of the program's log lost because standard error could not be written.",
            ),
            connections_limit: family.gauge(
                "connections_limit",
                "Connections that may be open at once: max_connections, or what descriptors allow.",
            ),
            reloads_applied: reloads.with_label_values(&["applied"]),
            reloads_refused: reloads.with_label_values(&["refused"]),
            reloaded,
            last_reload,
            registry: family.0,
            registrations: Registrations::default(),
        }
    }

    /// The metrics of one listener, shown for as long as they, or others of that name, are held.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        let of = &[listener];
        ListenerMetrics {
            _held: self.hold(Subject::Listener(listener.into())),
            connections_total: self.connections.with_label_values(of),
            connections_active: self.connections_active.with_label_values(of),
            sessions_by_version: ["3", "4", "5"]
                .map(|version| self.sessions.with_label_values(&[listener, version])),
            handshake_seconds: self.handshake.with_label_values(of),
        }
    }

    /// The metrics of one pool, likewise.
    pub fn pool(&self, pool: &str) -> PoolMetrics {
        PoolMetrics {
            _held: self.hold(Subject::Pool(pool.into())),
            routes: RouteKind::ALL
                .iter()
                .map(|route| self.routes.with_label_values(&[pool, route.as_str()]))
                .collect(),
            failing_open: self.pool_failing_open.with_label_values(&[pool]),
            down_held: self.pool_down_held.with_label_values(&[pool]),
            discovery_lookups: self.discovery_lookups.clone(),
            discovery_changes: self.discovery_changes.clone(),
            pool: pool.into(),
        }
    }

    /// The metrics of one broker of a pool, likewise.
    pub fn upstream(&self, pool: &str, upstream: &str) -> UpstreamMetrics {
        let held = self.hold(Subject::Upstream(pool.into(), upstream.into()));
        self.upstreams.of(pool, upstream, held)
    }

    fn hold(&self, subject: Subject) -> Arc<Registration> {
        let held = self.registrations.hold(subject);
        self.forget_the_oldest();
        held
    }

    /// Removes the samples of those that have been gone for so long that they are not remembered.
    fn forget_the_oldest(&self) {
        let forgotten = self.registrations.take_forgotten();
        if forgotten.is_empty() {
            return;
        }
        let gone = &forgotten.iter().map(Subject::key).collect();
        self.upstreams.forget(gone);
        for family in [&self.routes, &self.discovery_lookups, &self.discovery_changes] {
            forget(family, gone);
        }
        for family in [&self.connections, &self.sessions] {
            forget(family, gone);
        }
        for family in [&self.pool_failing_open, &self.pool_down_held, &self.connections_active] {
            forget(family, gone);
        }
        forget(&self.handshake, gone);
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

    pub fn count_accept_error(&self, kind: AcceptError) {
        if let Some(errors) = self.accept_errors.get(kind as usize) {
            errors.inc();
        }
    }

    /// Counts a reload of the configuration: it is in use now, or was refused and changed nothing.
    pub fn count_reload(&self, applied: bool) {
        self.reloaded.set(applied.into());
        if applied {
            self.reloads_applied.inc();
            self.last_reload.set(now());
        } else {
            self.reloads_refused.inc();
        }
    }

    /// How many connections may be open at once.
    pub fn set_connections_limit(&self, limit: u32) {
        self.connections_limit.set(limit.into());
    }

    /// Makes these all the certificates there are: of a `listener` or a `pool`, and of which one.
    pub fn set_certificates<'a>(
        &self,
        all: impl Iterator<Item = (&'static str, &'a str, &'a CertificateFile)>,
    ) {
        self.certificate_expiry.reset();
        for (kind, name, CertificateFile { path, not_after, .. }) in all {
            let of = [kind, name, &path.to_string_lossy()];
            self.certificate_expiry.with_label_values(&of).set(*not_after);
        }
    }

    /// The counter of lost access log lines, for [`super::AccessLogs::open`].
    pub fn access_log_dropped(&self) -> IntCounter {
        self.access_log_dropped.clone()
    }

    /// The counter of lost lines of the program's log, for [`super::LossyWriter::start`].
    pub fn program_log_dropped(&self) -> IntCounter {
        self.program_log_dropped.clone()
    }

    /// Everything, in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        self.forget_the_oldest();
        let mut families = self.registry.gather();
        self.registrations.keep_held(&mut families);
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
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

/// What is true of the process as a whole.
fn add_process(family: &Families) {
    made(family.0.register(Box::new(ProcessCollector::for_self())));
    let build = family.gauges("build_info", "Always 1; the version that runs.", &["version"]);
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
}

/// Unix time, seconds.
fn now() -> i64 {
    OffsetDateTime::from(SystemTime::now()).unix_timestamp()
}

/// One listener's metrics.
#[derive(Clone)]
pub struct ListenerMetrics {
    _held: Arc<Registration>,
    pub connections_total: IntCounter,
    pub connections_active: IntGauge,
    pub handshake_seconds: Histogram,
    pub(super) sessions_by_version: [IntCounter; 3],
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
    _held: Arc<Registration>,
    routes: Box<[IntCounter]>,
    /// 1 while the verdicts on the brokers are distrusted.
    pub failing_open: IntGauge,
    /// Brokers found down whose sessions stay until the fault is known not to be a common one.
    pub down_held: IntGauge,
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
