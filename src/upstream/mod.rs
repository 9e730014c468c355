//! The brokers: who they are, what they carry, how well they are, and how a worker reaches them.

mod bell;
mod broker;
mod connect;
mod dial;
mod dial_error;
mod discover;
mod health;
mod host_name;
mod no_port;
mod pace;
mod pick;
mod pool;
mod race;
mod records;
mod resolver;
mod sources;
mod task;

pub use crate::limits::{Admission, AdmissionQueue};
pub use bell::Bell;
pub use broker::{Broker, Endpoint, Lease, Place, Places, Target, Trial};
pub use dial::{Opening, Reached, dial};
pub use dial_error::DialError;
pub use discover::{Answer, DiscoverError, discover};
pub use health::State;
pub use no_port::NoPort;
pub use pick::{FairShare, Pick};
pub use pool::{
    Changes, Forecast, Look, Member, Members, NoKey, Overview, Pending, Pool, Probed, Refused,
    Round, Status, UnknownBroker, WeightError, router,
};
pub use records::TooHeavy;
pub use resolver::{Addresses, LookupError, PATIENCE, Resolver, Service, Services};
