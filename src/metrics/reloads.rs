//! The metrics of configuration reloads.

use std::time::SystemTime;

use prometheus::{IntCounter, IntGauge};

use super::families::Families;
use crate::timestamp::unix_seconds;

#[derive(Clone)]
pub(super) struct ReloadMetrics {
    applied: IntCounter,
    refused: IntCounter,
    last_successful: IntGauge,
    /// Unix time, seconds.
    pub(super) last_success: IntGauge,
    files_applied: IntCounter,
    files_refused: IntCounter,
    last_files_successful: IntGauge,
}

impl ReloadMetrics {
    pub(super) fn new(family: &Families) -> Self {
        let reloads = family.counters(
            "config_reloads_total",
            "Reloads of the configuration, by outcome.",
            &["outcome"],
        );
        let last_successful = family.gauge(
            "config_last_reload_successful",
            "1 if the last reload of the configuration was applied or there was none, else 0.",
        );
        last_successful.set(1);
        let last_success = family.gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in use was applied, at the start or by a reload, in Unix time.",
        );
        last_success.set(unix_seconds(SystemTime::now()));
        let file_reloads = family.counters(
            "file_reloads_total",
            "Reloads of changed files that the configuration names, by outcome.",
            &["outcome"],
        );
        let last_files_successful = family.gauge(
            "file_last_reload_successful",
            "1 if the files that the configuration names are in use, 0 if the last change of them was refused.",
        );
        last_files_successful.set(1);
        Self {
            files_applied: file_reloads.with_label_values(&["applied"]),
            files_refused: file_reloads.with_label_values(&["refused"]),
            last_files_successful,
            applied: reloads.with_label_values(&["applied"]),
            refused: reloads.with_label_values(&["refused"]),
            last_successful,
            last_success,
        }
    }

    pub(super) fn count(&self, applied: bool) {
        self.last_successful.set(applied.into());
        if applied {
            self.applied.inc();
            self.last_success.set(unix_seconds(SystemTime::now()));
            // All files were read and are in use.
            self.last_files_successful.set(1);
        } else {
            self.refused.inc();
        }
    }

    pub(super) fn count_files(&self, applied: bool) {
        self.last_files_successful.set(applied.into());
        if applied { &self.files_applied } else { &self.files_refused }.inc();
    }
}
