//! The output of a log's writer: a file, a pipe or a syslog receiver.

mod file;
mod log_output;
mod look_up;
mod syslog;

#[cfg(test)]
pub(super) use file::LogFile;
pub(super) use log_output::LogOutput;
