//! The brokers of a pool and their addresses, as found in DNS.

pub(super) mod host_name;
mod lookup;
mod lookup_backoff;
mod records;
mod resolver;
pub(super) mod services;

pub(crate) use lookup::discover;
pub(super) use lookup_backoff::LookupBackoff;
pub(crate) use resolver::{LOOKUP_TIMEOUT, ResolvedAddresses, Resolver};
