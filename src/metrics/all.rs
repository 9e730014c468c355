//! The Prometheus metrics, in a registry of their own.

use std::time::SystemTime;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
    process_collector::ProcessCollector,
};

use super::{
    access_log::{AccessLogFamilies, AccessLogMetrics},
    families::{Families, made},
    listener::{ListenerFamilies, ListenerMetrics},
    owned::{Declarations, Owned},
    owners::Owner,
    pool::{PoolFamilies, PoolMetrics},
    upstream::{UpstreamFamilies, UpstreamMetrics},
};
use crate::{
    config::CertificateFile,
    labels::{EndBy, EndCause, EndPhase, named},
    timestamp::unix_seconds,
};

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
    /// What listeners, pools, brokers and access logs have, for as long as they live.
    owned: Owned,
    listeners: ListenerFamilies,
    pools: PoolFamilies,
    upstreams: UpstreamFamilies,
    pub(super) session_ends: IntCounterVec,
    /// The client that leaves when it is done: by far the most common end, looked up once.
    left: IntCounter,
    pub(super) rejects: IntCounterVec,
    accept_errors: Box<[IntCounter]>,
    certificate_expiry: IntGaugeVec,
    access_logs: AccessLogMetrics,
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

        let mut owned = Declarations::default();
        let listeners = ListenerFamilies::new(&mut owned);
        let pools = PoolFamilies::new(&mut owned);
        let upstreams = UpstreamFamilies::new(&mut owned);
        let access_logs = AccessLogFamilies::new(&mut owned);
        let owned = owned.register(&family.0);
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
            access_logs: AccessLogMetrics {
                dropped: family.counter(
                    "access_log_dropped_total",
                    "Access log lines lost because a log could not be written fast enough.",
                ),
                owned: owned.clone(),
                families: access_logs,
            },
            owned,
            listeners,
            pools,
            upstreams,
            session_ends,
            left,
            rejects: family.counters(
                "rejects_total",
                "Connections that ended before they became sessions, by cause.",
                &["reason"],
            ),
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
        }
    }

    /// The metrics of one listener. Here and in the two below, counters and histograms continue from
    /// an earlier owner of the same name.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        self.listeners.of(self.owned.registration(Owner::Listener(listener.into())))
    }

    /// The metrics of one pool.
    pub fn pool(&self, pool: &str) -> PoolMetrics {
        self.pools.of(self.owned.registration(Owner::Pool(pool.into())))
    }

    /// The metrics of one broker of a pool.
    pub fn upstream(&self, pool: &str, upstream: &str) -> UpstreamMetrics {
        let owner = Owner::Upstream { pool: pool.into(), name: upstream.into() };
        self.upstreams.of(self.owned.registration(owner))
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

    /// The metrics of access logs, for [`crate::access_log::AccessLogs::open`].
    pub fn access_logs(&self) -> AccessLogMetrics {
        self.access_logs.clone()
    }

    /// The counter of lost lines of the program's log, for [`crate::program_log::LossyWriter::start`].
    pub fn program_log_dropped(&self) -> IntCounter {
        self.program_log_dropped.clone()
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

/// What is true of the process as a whole.
fn add_process(family: &Families) {
    made(family.0.register(Box::new(ProcessCollector::for_self())));
    let build = family.gauges("build_info", "Always 1; the version that runs.", &["version"]);
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
}

/// Unix time, seconds.
fn now() -> i64 {
    unix_seconds(SystemTime::now())
}
