//! The access logs: one line for each connection that opens, ends or is refused. Workers render the
//! lines; one thread for each log writes them.

mod blocked;
mod entry;
mod file;
mod format;
mod logs;
mod look_up;
mod output;
mod sink;
mod syslog;
mod syslog_header;
#[cfg(test)]
mod tests;
mod value;
mod worker_buffer;
mod worker_logs;
mod writer_thread;

pub use blocked::BlockedLogs;
pub use entry::{DialledAddress, Entry, field_names};
pub use format::{Template, TemplateError};
pub use logs::{AccessLogs, PreparedLogs};
pub use sink::{OpenError, OpenedOutputs};
pub use worker_logs::WorkerLogs;
