//! The brokers: who they are, what they carry, how well they are, and how a worker reaches them.

mod admission;
mod bell;
mod broker;
mod condition;
mod dial;
mod health;
mod pick;
mod pool;

pub use admission::Admission;
pub use bell::Bell;
pub use broker::{Broker, Lease, Target};
pub use condition::State;
pub use dial::{DialError, dial};
pub use health::watch;
pub use pick::{FairShare, Pick};
pub use pool::{Changes, Member, Members, Pool, UnknownBroker, router};
