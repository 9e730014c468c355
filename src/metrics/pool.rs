//! The metrics of pools.

use prometheus::{IntCounter, IntGauge};

use super::owned::{Declarations, Family, Registration};
use crate::labels::RouteKind;

/// One pool's metrics, exposed while this or another one with the same name exists.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    routes: Box<[IntCounter]>,
    /// 1 while too many brokers look down for the health checks to be trusted.
    pub failing_open: IntGauge,
    /// Brokers found down whose sessions are kept until a shared cause is ruled out.
    pub down_held: IntGauge,
    /// 0 while no broker answers, neither clients nor the proxy's own checks.
    pub serving: IntGauge,
    /// Sessions that another device with the same client ID ended.
    pub duplicates: IntCounter,
    families: PoolFamilies,
    registration: Registration,
}

impl PoolMetrics {
    pub fn count_route(&self, route: RouteKind) {
        if let Some(routes) = self.routes.get(route as usize) {
            routes.inc();
        }
    }

    /// Counts a look-up in DNS; `outcome` is `ok`, `empty` or `failed`.
    pub fn count_lookup(&self, outcome: &'static str) {
        self.registration.sample(self.families.discovery_lookups, Some(outcome)).inc();
    }

    /// Counts brokers that a look-up `added` or `removed`, or `changed` in weight, rank or address.
    pub fn count_discovered(&self, change: &'static str, count: usize) {
        let changes = self.registration.sample(self.families.discovery_changes, Some(change));
        changes.inc_by(count as u64);
    }
}

/// The families that have samples for each pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolFamilies {
    routes: Family<IntCounter>,
    failing_open: Family<IntGauge>,
    down_held: Family<IntGauge>,
    serving: Family<IntGauge>,
    duplicates: Family<IntCounter>,
    discovery_lookups: Family<IntCounter>,
    discovery_changes: Family<IntCounter>,
}

impl PoolFamilies {
    pub(super) fn new(families: &mut Declarations) -> Self {
        Self {
            routes: families.add("routes_total", "Routing decisions, by kind of route.", &["pool", "route"]),
            failing_open: families.add(
                "pool_failing_open",
                "1 while so many brokers look down that all are tried, else 0.",
                &["pool"],
            ),
            down_held: families.add(
                "pool_down_held",
                "Brokers found down whose sessions are kept, because the fault may be common to all.",
                &["pool"],
            ),
            serving: families.add(
                "pool_serving",
                "0 while no broker of a pool answers and it serves no clients, else 1.",
                &["pool"],
            ),
            duplicates: families.add(
                "duplicate_client_ids_total",
                "Sessions that ended because another device with the same client ID connected.",
                &["pool"],
            ),
            discovery_lookups: families.add(
                "discovery_lookups_total",
                "Look-ups of a pool's brokers in DNS, by outcome.",
                &["pool", "outcome"],
            ),
            discovery_changes: families.add(
                "discovery_changes_total",
                "Brokers that a look-up in DNS added, removed or changed.",
                &["pool", "change"],
            ),
        }
    }

    /// The metrics of one pool.
    pub(super) fn of(self, registration: Registration) -> PoolMetrics {
        let of = &registration;
        PoolMetrics {
            routes: RouteKind::ALL
                .iter()
                .map(|route| of.sample(self.routes, Some(route.as_str())))
                .collect(),
            failing_open: of.sample(self.failing_open, None),
            down_held: of.sample(self.down_held, None),
            serving: of.sample(self.serving, None),
            duplicates: of.sample(self.duplicates, None),
            families: self,
            registration,
        }
    }
}
