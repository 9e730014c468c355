use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use rustix::{
    cmsg_space,
    io::Errno,
    net::{self, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
};
use tokio::{io::Interest, net::UnixStream, time};

use super::{BATCH, FrameError, HEADER_BYTES, MAX_DESCRIPTORS, MAX_PAYLOAD_BYTES};

/// How long the sender waits until it tries again when too many descriptors are on their way: no
/// event tells when the receiver has taken some of them.
const IN_FLIGHT_RETRY: Duration = Duration::from_millis(5);

/// Writes frames to a non-blocking socket.
pub(in crate::upgrade) struct FrameWriter;

impl FrameWriter {
    /// Writes a whole frame. Its descriptors are duplicated by the kernel: the caller keeps its own.
    ///
    /// Not safe to cancel: part of the frame may have been written.
    pub(crate) async fn write(
        socket: &UnixStream,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), FrameError> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(FrameError::TooLarge(payload.len()));
        }
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(FrameError::TooManyDescriptors(descriptors.len()));
        }
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&(descriptors.len() as u32).to_le_bytes());
        write_all(socket, &header).await?;
        for batch in descriptors.chunks(BATCH) {
            send(socket, &[0], batch).await?;
        }
        write_all(socket, payload).await
    }
}

async fn write_all(socket: &UnixStream, mut bytes: &[u8]) -> Result<(), FrameError> {
    while !bytes.is_empty() {
        let sent = send(socket, bytes, &[]).await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Sends at least one byte, with the descriptors.
async fn send(
    socket: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize, FrameError> {
    loop {
        let send = || Ok(send_now(socket.as_fd(), bytes, descriptors)?);
        match socket.async_io(Interest::WRITABLE, send).await {
            // More descriptors are on their way than the process may have open (unix(7)).
            Err(error) if error.raw_os_error() == Some(Errno::TOOMANYREFS.raw_os_error()) => {
                time::sleep(IN_FLIGHT_RETRY).await;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return Ok(done?),
        }
    }
}

fn send_now(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}
