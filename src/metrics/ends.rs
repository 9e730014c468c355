//! The metrics of how connections ended.

use std::collections::BTreeMap;

use prometheus::{IntCounter, IntCounterVec, core::Collector};

use super::families::Families;
use crate::labels::{EndBy, EndCause, EndPhase};

/// Counts by label value, without those that are 0.
pub(crate) type CountsByLabel = BTreeMap<String, u64>;

/// How many connections ended in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndCount {
    pub(crate) by: String,
    pub(crate) phase: String,
    pub(crate) cause: String,
    pub(crate) count: u64,
}

#[derive(Clone)]
pub(super) struct EndMetrics {
    session_ends: IntCounterVec,
    /// The client closed the session: by far the most common end, looked up once.
    client_closed: IntCounter,
    rejects: IntCounterVec,
    key_limits: IntCounterVec,
}

impl EndMetrics {
    pub(super) fn new(family: &Families) -> Self {
        let session_ends = family.counters(
            "session_ends_total",
            "Connections ended: who ended them, in which phase and why.",
            &["by", "phase", "cause"],
        );
        let client_closed = session_ends.with_label_values(&[
            EndBy::Client.as_str(),
            EndPhase::Relay.as_str(),
            EndCause::Closed.as_str(),
        ]);
        let rejects = family.counters(
            "rejects_total",
            "Connections that ended before they became sessions, by cause.",
            &["reason"],
        );
        let key_limits = family.counters(
            "key_limits_total",
            "Sessions ended because a TLS 1.2 key was nearly used up, by the connection it is of.",
            &["connection"],
        );
        // Counters exist before the first end: a rate misses the step from absent to 1.
        for side in [EndBy::Client, EndBy::Upstream] {
            key_limits.with_label_values(&[side.as_str()]);
        }
        Self { session_ends, client_closed, rejects, key_limits }
    }

    pub(super) fn count_key_limit(&self, side: EndBy) {
        self.key_limits.with_label_values(&[side.as_str()]).inc();
    }

    pub(super) fn count_end(&self, by: EndBy, phase: EndPhase, cause: EndCause) {
        if (by, phase, cause) == (EndBy::Client, EndPhase::Relay, EndCause::Closed) {
            return self.client_closed.inc();
        }
        self.session_ends.with_label_values(&[by.as_str(), phase.as_str(), cause.as_str()]).inc();
    }

    pub(super) fn count_reject(&self, reason: &'static str) {
        self.rejects.with_label_values(&[reason]).inc();
    }

    pub(super) fn end_counts(&self) -> Vec<EndCount> {
        let samples = nonzero_samples(&self.session_ends, ["by", "phase", "cause"]);
        let mut ends: Vec<_> = samples
            .map(|([by, phase, cause], count)| EndCount { by, phase, cause, count })
            .collect();
        ends.sort_unstable();
        ends
    }

    pub(super) fn reject_counts(&self) -> CountsByLabel {
        let samples = nonzero_samples(&self.rejects, ["reason"]);
        samples.map(|([reason], count)| (reason, count)).collect()
    }
}

/// The samples of a family that are not 0, with the values of these labels.
fn nonzero_samples<const N: usize>(
    family: &IntCounterVec,
    labels: [&'static str; N],
) -> impl Iterator<Item = ([String; N], u64)> + use<N> {
    let families = family.collect();
    families.into_iter().flat_map(|family| family.get_metric().to_vec()).filter_map(move |metric| {
        let value = |name: &str| {
            let pair = metric.get_label().iter().find(|pair| pair.name() == name);
            pair.map_or_else(String::new, |pair| pair.value().to_owned())
        };
        // A float holds whole numbers up to 2^53 exactly.
        let count = metric.get_counter().get_value() as u64;
        (count > 0).then(|| (labels.map(value), count))
    })
}
