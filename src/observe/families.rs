//! Families of metrics: made, registered, and rid of samples that are of no use any more.

use std::collections::{HashMap, HashSet};

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
};

use super::registrations::{Key, key};

/// Seconds. The handshake and the CONNACK: half a millisecond on a LAN, to the 10 s that the
/// deadlines allow by default.
pub(super) const HANDSHAKE_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Makes families and registers them.
///
/// A family's name, labels and buckets are constants of this crate: that they are valid and unlike
/// each other is known before the program is shipped, by any test that makes `Metrics`.
pub(super) struct Families(pub(super) Registry);

impl Families {
    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(made(IntCounter::with_opts(opts(name, help))))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(made(IntCounterVec::new(opts(name, help), labels)))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(made(IntGauge::with_opts(opts(name, help))))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(made(IntGaugeVec::new(opts(name, help), labels)))
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
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

pub(super) fn made<T>(family: prometheus::Result<T>) -> T {
    family.expect("every metric has a valid name, labels and buckets")
}

/// Removes the samples of subjects that have gone from a family.
pub(super) fn forget<T: MetricVecBuilder>(family: &MetricVec<T>, gone: &HashSet<Key<'_>>) {
    for collected in family.collect() {
        for metric in collected.get_metric() {
            if key(metric).is_some_and(|key| gone.contains(&key)) {
                let labels: HashMap<_, _> =
                    metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
                // It fails only where the sample has been removed already.
                let _ = family.remove(&labels);
            }
        }
    }
}
