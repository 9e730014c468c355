//! The metrics of access logs.

use prometheus::{IntCounter, IntGauge};

use super::{
    owned::{Declarations, Family, Owned, Registration},
    owners::Owner,
};

/// The metrics of all access logs.
#[derive(Clone)]
pub struct AccessLogMetrics {
    /// Lines lost.
    pub dropped: IntCounter,
    pub(super) owned: Owned,
    pub(crate) families: AccessLogFamilies,
}

/// The families that have samples for each access log.
#[derive(Clone, Copy)]
pub(crate) struct AccessLogFamilies {
    blocked: Family<IntGauge>,
}

/// Whether one log is blocked; exposed while this exists.
pub(crate) struct BlockedGauge {
    gauge: IntGauge,
    _registration: Registration,
}

impl AccessLogFamilies {
    pub(super) fn new(families: &mut Declarations) -> Self {
        Self {
            blocked: families.add(
                "access_log_blocked",
                "1 while a log that cannot be written has blocked new clients for 5 s or longer, else 0.",
                &["log"],
            ),
        }
    }
}

impl AccessLogMetrics {
    pub(crate) fn blocked(&self, log: &str) -> BlockedGauge {
        let registration = self.owned.registration(Owner::AccessLog(log.into()));
        let gauge = registration.sample(self.families.blocked, None);
        BlockedGauge { gauge, _registration: registration }
    }
}

impl BlockedGauge {
    pub(crate) fn set(&self, blocked: bool) {
        self.gauge.set(blocked.into());
    }
}
