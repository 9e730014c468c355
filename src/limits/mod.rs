//! Limits on connections, on their rate, and on the rate of CONNECTs to a broker.

mod address;
mod admission;
mod connect_rate;
mod connections;
mod permit;
mod quotas;
mod token_bucket;

pub(crate) use address::CountedAddress;
pub use admission::AdmissionOutcome;
pub(crate) use admission::AdmissionQueue;
pub use connections::ConnectionLimiter;
pub(crate) use permit::{ConnectionLimit, ConnectionPermit, FarOverLimit};
pub(crate) use quotas::{QuotaUsage, ReachedQuota};
