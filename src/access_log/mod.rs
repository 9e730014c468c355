//! The access logs: one line for each connection that opens, ends or is refused.
//!
//! A worker renders an [`Entry`] into a line once per format, collects lines in a buffer for each
//! log, and hands the buffers over through a bounded queue. One thread for each log writes them to
//! its output: a file, a pipe or a syslog receiver.

mod blocked;
mod configured_log;
mod entry;
mod fields;
mod format;
mod lines;
mod logs;
mod opened_outputs;
mod output;
mod queue;
mod syslog_header;
#[cfg(test)]
mod tests;
mod value;
mod worker_buffer;
mod worker_logs;
mod writer;

pub(crate) use blocked::BlockedLogs;
pub(crate) use entry::{BanFields, DialledAddress, Entry};
pub use fields::field_names;
pub use logs::AccessLogs;
pub(crate) use logs::PreparedLogs;
pub(crate) use opened_outputs::OpenedOutputs;
pub(crate) use worker_logs::WorkerLogs;
