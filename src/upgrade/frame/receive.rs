use std::{
    io::{self, IoSliceMut},
    mem::{self, MaybeUninit},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    cmsg_space,
    net::{self, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags},
};
use tokio::{io::Interest, net::UnixStream};
use zeroize::Zeroizing;

use super::{BATCH, Frame, FrameError, HEADER_BYTES, MAX_DESCRIPTORS, MAX_PAYLOAD_BYTES};

/// How much is read at once: the buffer grows with what has come, not with what is announced.
const READ_BYTES: usize = 64 << 10;

/// Reads frames from a non-blocking socket, never beyond the end of the current one: so the
/// descriptors that it holds belong to that frame, and their number is bounded.
#[derive(Default)]
pub(crate) struct FrameReader {
    header: Zeroizing<Vec<u8>>,
    /// The bytes that batches of descriptors travel with, and the payload.
    body: Zeroizing<Vec<u8>>,
    descriptors: Vec<OwnedFd>,
}

/// What the header announces.
#[derive(Clone, Copy)]
struct Announced {
    batches: usize,
    payload: usize,
    descriptors: usize,
}

impl FrameReader {
    /// The next frame: its payload and its descriptors, all close-on-exec. `None` at the end of the
    /// stream. Safe to cancel: what has been read is kept for the next call.
    pub(crate) async fn next(&mut self, socket: &UnixStream) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(frame));
            }
            let read = socket.async_io(Interest::READABLE, || match self.read(socket.as_fd()) {
                Err(FrameError::Io(error)) => Err(error),
                read => Ok(read),
            });
            let read = match read.await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read??,
            };
            if read == 0 {
                let between_frames = self.header.is_empty();
                return if between_frames { Ok(None) } else { Err(FrameError::Truncated) };
            }
        }
    }

    /// Reads part of the header or of the body; 0 bytes at the end of the stream.
    fn read(&mut self, socket: BorrowedFd<'_>) -> Result<usize, FrameError> {
        let announced = self.announced()?;
        let (buffer, missing) = match announced {
            None => (&mut self.header, HEADER_BYTES),
            Some(Announced { batches, payload, .. }) => (&mut self.body, batches + payload),
        };
        let start = buffer.len();
        grow(buffer, missing.min(start + READ_BYTES));
        let read = receive(socket, &mut buffer[start..], &mut self.descriptors);
        buffer.truncate(start + read.as_ref().unwrap_or(&0));
        let announced = announced.map_or(BATCH, |announced| announced.descriptors);
        if self.descriptors.len() > announced {
            return Err(FrameError::Descriptors { announced, carried: self.descriptors.len() });
        }
        read
    }

    /// The frame, if it is complete.
    fn take_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(Announced { batches, payload, descriptors }) = self.announced()? else {
            return Ok(None);
        };
        if let Some(&byte) = self.body.iter().take(batches).find(|&&byte| byte != 0) {
            return Err(FrameError::Malformed(byte));
        }
        if self.body.len() < batches + payload {
            return Ok(None);
        }
        if self.descriptors.len() != descriptors {
            let carried = self.descriptors.len();
            return Err(FrameError::Descriptors { announced: descriptors, carried });
        }
        self.header.clear();
        let body = mem::take(&mut self.body);
        let payload = Zeroizing::new(body[batches..].to_vec());
        Ok(Some((payload, mem::take(&mut self.descriptors))))
    }

    /// What the header announces, once it is complete.
    fn announced(&self) -> Result<Option<Announced>, FrameError> {
        let Some((payload, descriptors)) = self.header.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let Some(descriptors) = descriptors.first_chunk::<4>() else { return Ok(None) };
        let payload = u32::from_le_bytes(*payload) as usize;
        let descriptors = u32::from_le_bytes(*descriptors) as usize;
        if payload > MAX_PAYLOAD_BYTES {
            return Err(FrameError::TooLarge(payload));
        }
        if descriptors > MAX_DESCRIPTORS {
            return Err(FrameError::TooManyDescriptors(descriptors));
        }
        Ok(Some(Announced { batches: descriptors.div_ceil(BATCH), payload, descriptors }))
    }
}

/// Makes a buffer this long, without leaving a copy of its bytes where it was.
fn grow(buffer: &mut Zeroizing<Vec<u8>>, len: usize) {
    if buffer.capacity() < len {
        let mut larger = Zeroizing::new(Vec::with_capacity(len.max(2 * buffer.capacity())));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.resize(len, 0);
}

fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<usize, FrameError> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(io::Error::from)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(FrameError::DescriptorLimit);
    }
    Ok(received.bytes)
}
