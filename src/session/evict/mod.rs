//! Sessions that the proxy itself ends, a few at a time and oldest first, so that their clients do
//! not all reconnect at once.

mod drain;
mod duplicate;
mod lost_broker;
mod oldest;
mod rebalance;
mod takeover;

pub(crate) use drain::Drain;
pub(crate) use drain::drain;
pub(super) use duplicate::{end_of_displaced, note_arrival, note_broker_end};
pub(super) use lost_broker::PoolsWithLostSessions;
pub(super) use rebalance::start_rebalance;
pub(super) use takeover::{claim_client, end_older, enter_moved_client, release_client};
