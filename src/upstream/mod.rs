//! The brokers: who they are, what they carry, how well they are, and how a worker reaches them.

mod broker;
mod dial;
mod discovery;
mod health;
mod pick;
mod pool;
mod task;
mod worker_signal;

pub use broker::{Broker, Endpoint, Lease, Place, Places, Target, Trial};
pub use dial::{DialError, NoPort, Opening, Reached, dial};
pub use discovery::{
    Addresses, Answer, DiscoverError, LookupError, PATIENCE, Resolver, Service, Services, TooHeavy,
    discover,
};
pub use health::State;
pub use pick::{FairShare, Pick};
pub use pool::{
    Changes, Forecast, Look, Member, Members, NoKey, Overview, Pending, Pool, Probed, Refused,
    Round, Status, UnknownBroker, WeightError, router,
};
pub use worker_signal::Bell;
