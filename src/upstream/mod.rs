//! The brokers: who they are, what they carry, how well they are, and how a worker reaches them.

mod broker;
mod dial;
mod discovery;
mod health;
mod pick;
mod pool;
mod task;
mod worker_signal;

pub use broker::{Broker, Endpoint, HostAddress, HostAddresses, Lease, Target, Trial};
pub use dial::{DialError, FirstBytes, NoPort, Reached, dial};
pub use discovery::{
    Addresses, DiscoverError, Discovered, LOOKUP_TIMEOUT, LookupError, Resolver, Service, Services,
    TooHeavy, discover,
};
pub use health::BrokerState;
pub use pick::{FairShare, Pick};
pub use pool::{
    Changes, Forecast, Look, Member, Members, NoKey, Overview, Pending, Pool, PoolStatus, Probed,
    Refused, Round, UnknownBroker, WeightError, router,
};
pub use worker_signal::WorkerSignal;
