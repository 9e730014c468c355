//! A file, a pipe or a syslog receiver, as the writer of a log sees it.

use std::{io, path::Path, time::Duration};

use super::{
    file::{LogFile, STDOUT_PATH},
    syslog::SyslogReceiver,
};
use crate::config::{LogTarget, Rotate};

/// Writes whole lines in order. A partly written line is completed before the next one begins, or
/// written again from its start if it can no longer be completed.
pub(in crate::access_log) enum LogOutput {
    /// Also a pipe or standard output.
    File(LogFile),
    Syslog(SyslogReceiver),
}

impl LogOutput {
    /// Opens a file; a syslog receiver is connected to when there is something to write.
    pub(in crate::access_log) fn open(to: &LogTarget) -> io::Result<Self> {
        match to {
            LogTarget::File(path) => LogFile::open(path).map(Self::File),
            LogTarget::Stdout => LogFile::open(Path::new(STDOUT_PATH)).map(Self::File),
            LogTarget::Syslog(syslog) => Ok(Self::Syslog(SyslogReceiver::new(syslog.to.clone()))),
        }
    }

    /// Connects to a syslog receiver within `timeout`; does nothing for files.
    pub(in crate::access_log) fn connect(&mut self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Syslog(receiver) => receiver.connect(timeout),
        }
    }

    /// Writes from the start of `lines`. `partial` is how much of the first line has been written,
    /// in this output's own unit; it is updated. `timeout` is ignored for files, which block.
    ///
    /// Returns the length in bytes of the lines that are now completely written, 0 if there are
    /// none.
    pub(in crate::access_log) fn write(
        &mut self,
        lines: &[u8],
        partial: &mut usize,
        rotate: Option<Rotate>,
        timeout: Duration,
    ) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(lines, partial, rotate),
            Self::Syslog(receiver) => receiver.write(lines, partial, timeout),
        }
    }

    /// Whether an error of [`Self::write`] only means that the timeout passed: the connection is
    /// intact, and writing continues where it stopped.
    pub(in crate::access_log) fn is_slow(&self, error: &io::Error) -> bool {
        matches!(self, Self::Syslog(_)) && error.kind() == io::ErrorKind::WouldBlock
    }
}
