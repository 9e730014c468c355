use super::scrape::MetricsScrape;
use crate::admin::{budget::MemoryBudget, state::AdminState};

/// What all connections share.
pub(in crate::admin) struct AdminContext {
    pub(in crate::admin) state: AdminState,
    pub(in crate::admin) scrape: MetricsScrape,
    pub(in crate::admin) budget: MemoryBudget,
}

impl AdminContext {
    pub(in crate::admin) fn new(state: AdminState) -> Self {
        Self { state, scrape: MetricsScrape::default(), budget: MemoryBudget::new() }
    }
}
