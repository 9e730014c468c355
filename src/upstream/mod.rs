//! The brokers: who they are, what they carry, and how a worker reaches them.

mod dial;
mod pool;

pub use dial::{DialError, dial};
pub use pool::{Broker, Lease, Pool, Target, router};
