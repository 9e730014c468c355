//! The metrics of upgrades.

use prometheus::IntCounter;

use super::families::Families;

#[derive(Clone)]
pub(super) struct UpgradeMetrics {
    done: IntCounter,
    failed: IntCounter,
}

impl UpgradeMetrics {
    pub(super) fn new(family: &Families) -> Self {
        let upgrades = family.counters(
            "upgrades_total",
            "Upgrades to another process, by outcome.",
            &["outcome"],
        );
        // Counters exist before the first upgrade: a rate misses the step from absent to 1.
        Self {
            done: upgrades.with_label_values(&["done"]),
            failed: upgrades.with_label_values(&["failed"]),
        }
    }

    pub(super) fn count(&self, done: bool) {
        if done { &self.done } else { &self.failed }.inc();
    }
}
