//! The metrics of rates and bans.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::families::Families;
use crate::labels::{BanKind, BanReason};

/// Bans, what they refused, and what the tables of rates have forgotten. Clones share the samples.
#[derive(Clone)]
pub(crate) struct LimitMetrics {
    bans: IntCounterVec,
    bans_active: Box<[IntGauge]>,
    banned_refused: Box<[IntCounter]>,
    rate_entries_evicted: IntCounterVec,
}

impl LimitMetrics {
    pub(super) fn new(family: &Families) -> Self {
        let bans = family.counters("bans_total", "Bans imposed.", &["kind", "reason"]);
        // Counters exist before the first ban: a rate misses the step from absent to 1.
        for (kind, reason) in [
            (BanKind::Ip, BanReason::Operator),
            (BanKind::ClientId, BanReason::Operator),
            (BanKind::Username, BanReason::Operator),
            (BanKind::Ip, BanReason::HandshakesPerIp),
            (BanKind::Ip, BanReason::BadCredentialsPerIp),
            (BanKind::ClientId, BanReason::ConnectsPerClientId),
            (BanKind::Username, BanReason::ConnectsPerUsername),
        ] {
            bans.with_label_values(&[kind.as_str(), reason.as_str()]);
        }
        let active = family.gauges("bans_active", "Bans in force.", &["kind"]);
        let refused = family.counters(
            "banned_refused_total",
            "Connections refused because their address, client ID or username is banned.",
            &["kind"],
        );
        Self {
            bans,
            bans_active: BanKind::ALL
                .iter()
                .map(|kind| active.with_label_values(&[kind.as_str()]))
                .collect(),
            banned_refused: BanKind::ALL
                .iter()
                .map(|kind| refused.with_label_values(&[kind.as_str()]))
                .collect(),
            rate_entries_evicted: family.counters(
                "rate_entries_evicted_total",
                "Addresses, client IDs or usernames whose rate was forgotten to make room.",
                &["kind"],
            ),
        }
    }

    pub(crate) fn count_ban(&self, kind: BanKind, reason: BanReason) {
        self.bans.with_label_values(&[kind.as_str(), reason.as_str()]).inc();
    }

    pub(crate) fn set_active(&self, kind: BanKind, bans: usize) {
        if let Some(active) = self.bans_active.get(kind as usize) {
            active.set(i64::try_from(bans).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn count_refused(&self, kind: BanKind) {
        if let Some(refused) = self.banned_refused.get(kind as usize) {
            refused.inc();
        }
    }

    /// The counter of a rate, by its key in `limits`.
    pub(crate) fn evicted(&self, rate: &'static str) -> IntCounter {
        self.rate_entries_evicted.with_label_values(&[rate])
    }
}
