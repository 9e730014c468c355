//! Brokers: their pools, load, health and discovery, and how they are dialled.

mod broker;
mod dial;
mod discovery;
mod health;
mod local_addresses;
mod no_port;
mod pick;
mod pool;
mod task;
mod tasks;
mod worker_signal;

pub(crate) use broker::Trial;
pub use broker::{Broker, Endpoint, Lease};
pub(crate) use broker::{DialTarget, HostAddress, HostAddresses};
pub(crate) use dial::{DialError, DialedBroker, FirstBytes, dial};
pub(crate) use discovery::{LOOKUP_TIMEOUT, ResolvedAddresses, Resolver, discover};
pub use health::BrokerState;
pub use pick::Pick;
pub use pool::{
    AllBrokersFailed, BrokerOverview, BrokerStatus, Members, Pool, ProbeResult, RecoveryRound,
    RecoveryStep, router,
};
pub(crate) use pool::{MemberChanges, WeightError};
pub(crate) use tasks::start_pool_tasks;
pub use worker_signal::WorkerSignal;
