//! The brokers: who they are, what they carry, how well they are, and how a worker reaches them.

mod admission;
mod bell;
mod broker;
mod condition;
mod dial;
mod discover;
mod health;
mod host_name;
mod judgement;
mod members;
mod no_port;
mod pace;
mod pick;
mod pool;
mod records;
mod resolver;
mod sources;
mod standing;

pub use admission::Admission;
pub use bell::Bell;
pub use broker::{Broker, Lease, Target};
pub use condition::State;
pub use dial::{DialError, Opening, dial};
pub use discover::{Answer, DiscoverError, Discovery, discover};
pub use health::watch;
pub use host_name::HostName;
pub use judgement::UnknownBroker;
pub use members::{Changes, Member, Members, router};
pub use no_port::NoPort;
pub use pace::Refresh;
pub use pick::{FairShare, Pick};
pub use pool::Pool;
pub use records::TooHeavy;
pub use resolver::{Addresses, LookupError, PATIENCE, Resolver, Service, Services};
