//! The metrics of quotas.

use prometheus::IntCounter;

use super::owned::{Declarations, Family, Registration};

/// One quota's metrics, exposed while this or another one with the same name exists.
#[derive(Clone)]
pub(crate) struct QuotaMetrics {
    /// Clients refused because the quota was full for their key.
    pub(crate) refused: IntCounter,
    _registration: Registration,
}

/// The families that have samples for each quota.
#[derive(Clone, Copy)]
pub(super) struct QuotaFamilies {
    refused: Family<IntCounter>,
}

impl QuotaFamilies {
    pub(super) fn new(families: &mut Declarations) -> Self {
        Self {
            refused: families.add(
                "quota_refused_total",
                "Clients refused because a quota was full for their key.",
                &["quota"],
            ),
        }
    }

    /// The metrics of one quota.
    pub(super) fn of(self, registration: Registration) -> QuotaMetrics {
        let refused = registration.sample(self.refused, None);
        QuotaMetrics { refused, _registration: registration }
    }
}
