//! Frames with descriptors on a unix stream socket.
//!
//! A frame is its payload's length (u32, little endian), the number of its descriptors (the same),
//! one zero byte for every [`BATCH`] descriptors or part of it, and the payload. Each batch travels
//! with its byte: on a stream socket descriptors need a byte to travel with, and Linux neither
//! splits nor joins batches.

mod receive;
mod send;

use std::os::fd::OwnedFd;

use zeroize::Zeroizing;

pub(super) use receive::FrameReader;
pub(super) use send::FrameWriter;

/// The longest payload, in bytes.
pub(super) const MAX_PAYLOAD_BYTES: usize = 4 << 20;

/// The most descriptors of one frame.
pub(super) const MAX_DESCRIPTORS: usize = 16_384;

/// The most descriptors that Linux takes in one call (SCM_MAX_FD, unix(7)).
pub(super) const BATCH: usize = 253;

/// Length and number of descriptors.
const HEADER_BYTES: usize = 8;

/// A payload, which may have secrets, and its descriptors.
pub(super) type Frame = (Zeroizing<Vec<u8>>, Vec<OwnedFd>);

/// Why no frame can be sent or received. After an error of the reader the stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {0} bytes exceeds the limit of {MAX_PAYLOAD_BYTES} bytes")]
    TooLarge(usize),
    #[error("a frame with {0} descriptors exceeds the limit of {MAX_DESCRIPTORS} descriptors")]
    TooManyDescriptors(usize),
    #[error("a frame announces {announced} descriptors and carries {carried}")]
    Descriptors { announced: usize, carried: usize },
    #[error("a frame is malformed: byte {0:#04x} in place of a batch of descriptors")]
    Malformed(u8),
    #[error(
        "descriptors were lost: the limit of open files (RLIMIT_NOFILE) is reached in the process \
         that receives them"
    )]
    DescriptorLimit,
    #[error("the stream ends in the middle of a frame")]
    Truncated,
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
