//! What is recorded of every connection: one access log entry, and the metrics that agree with it.

mod access_log;
mod access_log_metrics;
mod blocked;
mod entry;
mod families;
mod format;
mod labels;
mod listener_metrics;
mod log_file;
mod log_writer;
mod look_up;
mod lossy_writer;
mod metrics;
mod output;
mod owned;
mod owners;
mod plain_log;
mod pool_metrics;
mod program_log;
mod readings;
mod series;
mod sink;
mod sink_buffer;
mod stderr;
mod syslog;
mod syslog_header;
mod timestamp;
mod upstream_metrics;
mod value;
mod writer;

pub use access_log::{AccessLogs, Prepared};
pub use access_log_metrics::AccessLogMetrics;
pub use blocked::LogWatch;
pub use entry::{Endpoint, Entry, field_names};
pub use format::{Template, TemplateError};
pub use labels::{EndBy, EndCause, EndPhase, Event, RouteKind, Transport};
pub use listener_metrics::ListenerMetrics;
pub use log_writer::LogWriter;
pub use lossy_writer::LossyWriter;
pub use metrics::{AcceptError, Metrics};
pub use owned::Part;
pub use plain_log::{PlainFields, PlainJson};
pub use pool_metrics::PoolMetrics;
pub use program_log::{LogLine, ProgramLog};
pub use readings::{Counts, EndCount};
pub use sink::{OpenError, Outputs};
pub use stderr::Stderr;
pub use timestamp::{rfc3339, unix_seconds};
pub use upstream_metrics::{TryOutcome, UpstreamMetrics};

#[cfg(test)]
mod tests;
