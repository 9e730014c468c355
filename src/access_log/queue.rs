//! The queue between the workers and the writer of one log.

use std::time::Duration;

/// Chunks that a queue holds: at 128 KiB each, about 4,000 lines in all.
pub(super) const QUEUE_CHUNKS: usize = 16;

/// How long the remaining lines of a removed log may take to be written.
pub(super) const REMOVED_LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// An item of the queue.
pub(super) enum WriterMessage {
    /// Whole lines.
    Chunk(Vec<u8>),
    /// Wakes the writer, so that it reads its [control flags](super::writer::WriterControl).
    Wake,
}
