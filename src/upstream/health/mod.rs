//! How well brokers are: what is known of each, and the active checks that ask them.

mod checks;
mod recovery;
mod state;

pub(super) use checks::check;
pub(super) use recovery::await_recovery;
pub use state::BrokerState;
pub(super) use state::{Circuit, HealthState, News};
