//! The brokers: who they are, what they carry, how well they are, and how a worker reaches them.

mod broker;
mod dial;
mod discovery;
mod health;
mod pick;
mod pool;
mod task;
mod worker_signal;

pub use broker::{Broker, DialTarget, Endpoint, HostAddress, HostAddresses, Lease, Trial};
pub use dial::{DialError, FirstBytes, NoPort, Reached, dial};
pub use discovery::{
    DiscoverError, Discovered, LOOKUP_TIMEOUT, LookupError, ResolvedAddresses, Resolver, SrvRecord,
    SrvRecords, WeightLimitExceeded, discover,
};
pub use health::BrokerState;
pub use pick::{FairShare, Pick};
pub use pool::{
    AllBrokersFailed, BrokerOverview, BrokerStatus, Forecast, Member, MemberChanges, Members,
    NoKey, Pool, ProbeResult, RecoveryRound, RecoveryStep, StartupLookups, UnknownBroker,
    WeightError, router,
};
pub use worker_signal::WorkerSignal;
