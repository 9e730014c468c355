//! The brokers of a pool and their addresses, found in DNS.

pub(super) mod host_name;
mod lookup;
mod lookup_backoff;
mod records;
mod resolver;
pub(super) mod services;

pub use lookup::{DiscoverError, DiscoveredBrokers, discover};
pub(super) use lookup_backoff::LookupBackoff;
pub use resolver::{
    LOOKUP_TIMEOUT, LookupError, ResolvedAddresses, Resolver, SrvRecord, SrvRecords,
};
