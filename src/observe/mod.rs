//! What is recorded of every connection: one access log entry, and the metrics that agree with it.

mod access_log;
mod entry;
mod format;
mod metrics;
mod sink;
mod value;

pub use access_log::{AccessLogs, LogWriter};
pub use entry::{
    EndBy, EndCause, EndPhase, Endpoint, Entry, Event, RouteKind, Transport, field_names,
};
pub use format::{Template, TemplateError};
pub use metrics::{ListenerMetrics, Metrics, PoolMetrics, TryOutcome, UpstreamMetrics};
pub use sink::OpenError;

#[cfg(test)]
mod tests;
