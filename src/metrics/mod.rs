//! The Prometheus metrics, in a registry of their own.

mod access_log;
mod ends;
mod families;
mod limits;
mod listener;
mod owned;
mod owners;
mod pool;
mod quota;
mod registry;
mod reloads;
mod series;
#[cfg(test)]
mod tests;
mod total_value;
mod totals;
mod upgrades;
mod upstream;

pub(crate) use access_log::AccessLogMetrics;
pub(crate) use access_log::BlockedGauge;
pub(crate) use ends::EndCount;
pub(crate) use limits::LimitMetrics;
pub(crate) use listener::ListenerMetrics;
pub(crate) use owned::ScopedSample;
pub(crate) use pool::PoolMetrics;
pub(crate) use quota::QuotaMetrics;
pub(crate) use registry::AcceptError;
pub use registry::Metrics;
pub(crate) use totals::Totals;
pub(crate) use upstream::{TryOutcome, UpstreamMetrics};
