//! Limits on connections, on their rate, and on the rate of CONNECTs to a broker; and bans.

mod address;
mod admission;
mod bans;
mod client_rates;
mod connect_rate;
mod connections;
mod lru;
mod permit;
mod quotas;
mod rate_table;
mod token_bucket;

pub(crate) use address::CountedAddress;
pub use admission::AdmissionOutcome;
pub(crate) use admission::AdmissionQueue;
pub(crate) use bans::{Ban, BanInForce, BanTarget, TooManyBans, wall_time};
pub(crate) use client_rates::{AddressRefusal, ConnectTooFast};
pub use connections::ConnectionLimiter;
pub(crate) use permit::{ConnectionLimit, ConnectionPermit, FarOverLimit};
pub(crate) use quotas::{QuotaUsage, ReachedQuota};
