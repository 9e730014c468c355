//! What a log's writer writes to.

use std::{io, path::Path, time::Duration};

use super::{
    file::{LogFile, STDOUT},
    syslog::SyslogPeer,
};
use crate::config::{LogTarget, Rotate};

/// A file or a syslog receiver.
///
/// Lines go out in order and whole: one that is out in part is ended before the next begins, or is
/// written again from its start where the first part cannot be ended any more.
pub(super) enum Output {
    File(LogFile),
    Syslog(SyslogPeer),
}

impl Output {
    /// Opens a file; a syslog receiver is connected to when there is something to say.
    pub(super) fn open(to: &LogTarget) -> io::Result<Self> {
        match to {
            LogTarget::File(path) => LogFile::open(path).map(Self::File),
            LogTarget::Stdout => LogFile::open(Path::new(STDOUT)).map(Self::File),
            LogTarget::Syslog(syslog) => Ok(Self::Syslog(SyslogPeer::new(syslog.to.clone()))),
        }
    }

    /// Connects, where that is apart from opening, for at most `patience`.
    pub(super) fn connect(&mut self, patience: Duration) -> io::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Syslog(peer) => peer.connect(patience),
        }
    }

    /// Writes the first of `lines`, of which `begun` bytes are out, as this output writes them.
    ///
    /// Returns the bytes of those lines that are now out as a whole, 0 if that is none yet.
    ///
    /// Files know no patience.
    pub(super) fn write(
        &mut self,
        lines: &[u8],
        begun: &mut usize,
        rotate: Option<Rotate>,
        patience: Duration,
    ) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(lines, begun, rotate),
            Self::Syslog(peer) => peer.write(lines, begun, patience),
        }
    }

    /// Whether an error of [`Self::write`] says only that nothing could be written within the
    /// patience: the receiver is there, and it goes on where it stopped.
    pub(super) fn is_slow(&self, error: &io::Error) -> bool {
        matches!(self, Self::Syslog(_)) && error.kind() == io::ErrorKind::WouldBlock
    }
}

/// Where the last whole line ends.
pub(super) fn lines_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}
