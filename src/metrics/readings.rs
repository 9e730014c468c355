//! What the metrics say, for those who want numbers and not Prometheus' text.

use std::collections::BTreeMap;

use prometheus::{IntCounterVec, core::Collector};

use super::{
    all::Metrics,
    listener::ListenerMetrics,
    upstream::{TryOutcome, UpstreamMetrics},
};

/// How many connections ended in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndCount {
    pub by: String,
    pub phase: String,
    pub cause: String,
    pub count: u64,
}

/// Counts by word, without those that are 0.
pub type Counts = BTreeMap<String, u64>;

impl Metrics {
    /// All ends there have been, in the order of their words.
    pub fn ends(&self) -> Vec<EndCount> {
        let samples = samples(&self.session_ends, ["by", "phase", "cause"]);
        let mut ends: Vec<_> = samples
            .map(|([by, phase, cause], count)| EndCount { by, phase, cause, count })
            .collect();
        ends.sort_unstable();
        ends
    }

    /// Connections that ended before they became sessions, by cause.
    pub fn reject_counts(&self) -> Counts {
        samples(&self.rejects, ["reason"]).map(|([reason], count)| (reason, count)).collect()
    }
}

impl ListenerMetrics {
    /// Sessions so far, by protocol level.
    pub fn session_counts(&self) -> [(&'static str, u64); 3] {
        let [v3, v4, v5] = &self.sessions_by_version;
        [("3", v3.get()), ("4", v4.get()), ("5", v5.get())]
    }
}

impl UpstreamMetrics {
    /// CONNECTs that the broker was chosen for, by what became of them.
    pub fn try_counts(&self) -> Counts {
        let outcomes = TryOutcome::ALL.iter().zip(&self.tries);
        let counts = outcomes.map(|(outcome, tries)| (outcome.as_str().to_owned(), tries.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// CONNACKs by reason.
    pub fn connack_counts(&self) -> Counts {
        let connacks = self.registration.by_word(self.families.connacks);
        let counts = connacks.into_iter().map(|(reason, connacks)| (reason, connacks.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// The samples of a family that are not 0, by the values of these labels.
fn samples<const N: usize>(
    family: &IntCounterVec,
    labels: [&'static str; N],
) -> impl Iterator<Item = ([String; N], u64)> + use<N> {
    let families = family.collect();
    families.into_iter().flat_map(|family| family.get_metric().to_vec()).filter_map(move |metric| {
        let value = |name: &str| {
            let pair = metric.get_label().iter().find(|pair| pair.name() == name);
            pair.map_or_else(String::new, |pair| pair.value().to_owned())
        };
        // Whole numbers up to 2^53 are exact in it.
        let count = metric.get_counter().get_value() as u64;
        (count > 0).then(|| (labels.map(value), count))
    })
}
