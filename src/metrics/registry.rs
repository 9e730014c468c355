//! The Prometheus metrics, in a registry of their own.

use std::{cell::RefCell, sync::Arc};

use prometheus::{
    IntCounter, IntGauge, IntGaugeVec, Registry, TextEncoder, process_collector::ProcessCollector,
};

use super::{
    access_log::{AccessLogFamilies, AccessLogMetrics},
    ends::{CountsByLabel, EndCount, EndMetrics},
    families::{Families, made},
    limits::LimitMetrics,
    listener::{ListenerFamilies, ListenerMetrics},
    owned::{Declarations, Owned},
    owners::Owner,
    pool::{PoolFamilies, PoolMetrics},
    quota::{QuotaFamilies, QuotaMetrics},
    reloads::ReloadMetrics,
    totals::{CounterFamilies, Totals},
    upgrades::UpgradeMetrics,
    upstream::{UpstreamFamilies, UpstreamMetrics},
};
use crate::{
    config::CertificateFile,
    labels::{EndBy, EndCause, EndPhase, named},
};

named! {
    /// Why an accept failed.
    pub enum AcceptError {
        /// The connection was aborted, by its client or the network.
        Aborted = "aborted",
        ProcessDescriptors = "process_descriptors",
        SystemDescriptors = "system_descriptors",
        Memory = "memory",
        Other = "other",
    }
}

/// All families. Clones share them.
///
/// No client can choose a label value: listeners, pools and brokers are named by the configuration,
/// and all other values are from fixed sets.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// The families of counters of the whole proxy.
    counters: Arc<CounterFamilies>,
    /// The metrics of listeners, pools, brokers, access logs and quotas, while those exist.
    owned: Owned,
    listeners: ListenerFamilies,
    pools: PoolFamilies,
    upstreams: UpstreamFamilies,
    quotas: QuotaFamilies,
    ends: EndMetrics,
    pub(super) reloads: ReloadMetrics,
    upgrades: UpgradeMetrics,
    accept_errors: Box<[IntCounter]>,
    certificate_expiry: IntGaugeVec,
    access_logs: AccessLogMetrics,
    program_log_dropped: IntCounter,
    connections_limit: IntGauge,
    limits: LimitMetrics,
}

impl Metrics {
    pub fn new() -> Self {
        let family = Families { registry: Registry::new(), counters: RefCell::default() };
        add_process(&family);
        // Counters exist before the first failure: a rate misses the step from absent to 1.
        let accept_errors =
            family.counters("accept_errors_total", "Failed accepts, by kind.", &["kind"]);

        let mut owned = Declarations::default();
        let listeners = ListenerFamilies::new(&mut owned);
        let pools = PoolFamilies::new(&mut owned);
        let upstreams = UpstreamFamilies::new(&mut owned);
        let quotas = QuotaFamilies::new(&mut owned);
        let access_logs = AccessLogFamilies::new(&mut owned);
        let owned = owned.register(&family.registry);
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
            quotas,
            ends: EndMetrics::new(&family),
            reloads: ReloadMetrics::new(&family),
            upgrades: UpgradeMetrics::new(&family),
            accept_errors: AcceptError::ALL
                .iter()
                .map(|kind| accept_errors.with_label_values(&[kind.as_str()]))
                .collect(),
            // In seconds, as promtool requires: `(… - time()) / 86400` is the number of days left.
            certificate_expiry: family.gauges(
                "certificate_expiry_timestamp_seconds",
                "When a certificate of a listener or a pool expires, in Unix time.",
                &["kind", "name", "file"],
            ),
            program_log_dropped: family.counter(
                "program_log_dropped_total",
                "Lines of the program's log lost because standard error was not writable.",
            ),
            connections_limit: family.gauge(
                "connections_limit",
                "Connections that may be open at once: max_connections, or fewer if descriptors are short.",
            ),
            limits: LimitMetrics::new(&family),
            counters: family.counters.into_inner().into(),
            registry: family.registry,
        }
    }

    /// The metrics of one listener. A listener, pool or broker continues the counters and
    /// histograms of an earlier one with the same name.
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

    /// The metrics of one quota.
    pub(crate) fn quota(&self, quota: &str) -> QuotaMetrics {
        self.quotas.of(self.owned.registration(Owner::Quota(quota.into())))
    }

    /// Counts the end of a connection.
    pub fn count_end(&self, by: EndBy, phase: EndPhase, cause: EndCause) {
        self.ends.count_end(by, phase, cause);
    }

    /// Counts a rejected connection; `reason` is from a fixed set.
    pub fn count_reject(&self, reason: &'static str) {
        self.ends.count_reject(reason);
    }

    /// Counts a session that ended because a TLS 1.2 key of its connection to the client, or to the
    /// broker, was nearly used up.
    pub(crate) fn count_key_limit(&self, side: EndBy) {
        self.ends.count_key_limit(side);
    }

    /// Every end so far, ordered by its labels.
    pub(crate) fn end_counts(&self) -> Vec<EndCount> {
        self.ends.end_counts()
    }

    /// Connections that ended before they became sessions, by cause.
    pub(crate) fn reject_counts(&self) -> CountsByLabel {
        self.ends.reject_counts()
    }

    pub fn count_accept_error(&self, kind: AcceptError) {
        if let Some(errors) = self.accept_errors.get(kind as usize) {
            errors.inc();
        }
    }

    /// Counts a reload of the configuration, which was either applied or refused without any
    /// change.
    pub fn count_reload(&self, applied: bool) {
        self.reloads.count(applied);
    }

    /// Counts a reload of changed files, which were either all applied or refused.
    pub fn count_file_reload(&self, applied: bool) {
        self.reloads.count_files(applied);
    }

    /// Counts an upgrade to another process; if it failed, this one carries on.
    pub(crate) fn count_upgrade(&self, done: bool) {
        self.upgrades.count(done);
    }

    /// How many connections may be open at once.
    pub fn set_connections_limit(&self, limit: u32) {
        self.connections_limit.set(limit.into());
    }

    /// Replaces the certificates: each with the type of its owner, `listener` or `pool`, and the
    /// owner's name.
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

    /// The metrics of rates and bans.
    pub(crate) fn limits(&self) -> LimitMetrics {
        self.limits.clone()
    }

    /// The counter of lines lost from the program's log, for
    /// [`crate::program_log::LossyWriter::start`].
    pub fn program_log_dropped(&self) -> IntCounter {
        self.program_log_dropped.clone()
    }

    /// The values of all counters and histograms, for the process after an upgrade.
    pub(crate) fn totals(&self) -> Totals {
        let counters = self.counters.iter().flat_map(|(name, family)| family.totals(name));
        Totals { counters: counters.collect(), owned: self.owned.totals() }
    }

    /// Adds the values of the process before an upgrade, or how much they have risen. Families that
    /// this version does not have are ignored.
    pub(crate) fn add_totals(&self, totals: &Totals) {
        for total in &totals.counters {
            if let Some(family) = self.counters.get(&total.family) {
                family.add(total);
            }
        }
        self.owned.add_totals(&totals.owned);
    }

    /// All metrics in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            // Fails only for a family without samples, which the registry leaves out.
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

/// The metrics of the process.
fn add_process(family: &Families) {
    made(family.registry.register(Box::new(ProcessCollector::for_self())));
    let build = family.gauges("build_info", "Always 1; the version that runs.", &["version"]);
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
}
