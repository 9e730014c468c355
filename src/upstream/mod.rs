//! The brokers: which there are, what they carry, how healthy they are, and how they are dialled.

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

pub use broker::{Broker, DialTarget, Endpoint, HostAddress, HostAddresses, Lease, Trial};
pub use dial::{DialError, DialedBroker, FirstBytes, dial};
pub use discovery::{
    DiscoverError, DiscoveredBrokers, LOOKUP_TIMEOUT, LookupError, ResolvedAddresses, Resolver,
    SrvRecord, SrvRecords, discover,
};
pub use health::BrokerState;
pub use no_port::NoPort;
pub use pick::{FairShare, Pick};
pub use pool::{
    AllBrokersFailed, BrokerOverview, BrokerStatus, Forecast, Member, MemberChanges, Members,
    NoKey, Pool, ProbeResult, RecoveryRound, RecoveryStep, UnknownBroker, WeightError,
    WeightLimitExceeded, router,
};
pub use tasks::start_pool_tasks;
pub use worker_signal::WorkerSignal;
