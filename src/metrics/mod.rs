//! The Prometheus metrics, in a registry of their own.

mod access_log;
mod all;
mod families;
mod listener;
mod owned;
mod owners;
mod pool;
mod readings;
mod series;
#[cfg(test)]
mod tests;
mod upstream;

pub use access_log::AccessLogMetrics;
pub(crate) use access_log::BlockedGauge;
pub use all::{AcceptError, Metrics};
pub use listener::ListenerMetrics;
pub use owned::ScopedSample;
pub use pool::PoolMetrics;
pub use readings::{Counts, EndCount};
pub use upstream::{TryOutcome, UpstreamMetrics};
