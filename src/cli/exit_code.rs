//! The exit codes of all commands.

/// Exit code: failed while running.
pub(super) const FAILED: u8 = 1;
/// Exit code: bad usage or configuration; clap's code for bad usage too.
pub(super) const BAD_CONFIG: u8 = 2;
