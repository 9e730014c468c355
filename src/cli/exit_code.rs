//! The exit codes of all commands.

/// The command failed while running.
pub(super) const FAILED: u8 = 1;
/// Bad usage or configuration; clap exits with the same code for bad usage.
pub(super) const BAD_CONFIG: u8 = 2;
