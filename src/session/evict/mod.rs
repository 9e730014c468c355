//! Sessions that the proxy ends by itself, a few at a time and the oldest first, so that their
//! clients do not all come back at once.

mod drain;
mod lost_broker;
mod oldest;
pub(super) mod rebalance;
pub(super) mod takeover;

pub use drain::{Drain, drain};
pub(super) use lost_broker::{Lost, LostViews};
pub(super) use takeover::{is_of, newer, tenant_fields};
