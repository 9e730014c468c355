//! What requests are answered from.

use super::{AdminState, budget::Budget, scrape::Scrape};

pub(super) struct Served {
    pub(super) state: AdminState,
    pub(super) scrape: Scrape,
    pub(super) budget: Budget,
}
