//! The Prometheus metrics, in a registry of their own.

mod access_log;
mod ends;
mod families;
mod listener;
mod owned;
mod owners;
mod pool;
mod registry;
mod reloads;
mod series;
#[cfg(test)]
mod tests;
mod upstream;

pub use access_log::AccessLogMetrics;
pub(crate) use access_log::BlockedGauge;
pub(crate) use ends::EndCount;
pub use listener::ListenerMetrics;
pub use owned::ScopedSample;
pub use pool::PoolMetrics;
pub use registry::{AcceptError, Metrics};
pub use upstream::{TryOutcome, UpstreamMetrics};
