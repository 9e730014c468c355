//! The brokers of a pool and their addresses, found in DNS.

pub(super) mod host_name;
mod pace;
mod records;
mod resolver;
pub(super) mod services;

pub(super) use pace::Pace;
pub use records::TooHeavy;
pub use resolver::{Addresses, LOOKUP_TIMEOUT, LookupError, Resolver, Service, Services};
pub use services::{DiscoverError, Discovered, discover};
