//! One end of the hand-over's stream: messages with descriptors, each way on its own.

use std::{
    fs::File,
    io,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::net::{self, AddressFamily, Shutdown, SocketFlags, SocketType};
use tokio::{net::UnixStream, time};

use super::{
    frame::{FrameError, FrameReader, FrameWriter},
    message::{Envelope, decode, encode_message},
};

/// How long the other process may leave a frame unread. A process that reads nothing for so long
/// hangs.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a message cannot be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    #[error("a message cannot be read: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    #[error("a message needs {expected} descriptors and has {found}")]
    Descriptors { expected: usize, found: usize },
    #[error("the other process has read nothing for {} s", SEND_TIMEOUT.as_secs())]
    SendTimeout,
    #[error("an earlier message was not sent whole")]
    Broken,
}

/// A pair of connected sockets: the old process's end, and the one that becomes the standard input
/// of the new one. Both are close-on-exec.
///
/// The old process has to drop the [`std::process::Command`] that holds the other end as soon as it
/// has spawned: otherwise the stream never ends.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Takes the socket out of standard input, which is `/dev/null` from then on.
pub(crate) fn from_stdin() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}

/// Both directions of a socket, for use on a tokio runtime with I/O and time.
pub(crate) fn connect<Out: Envelope, In: Envelope>(
    socket: OwnedFd,
) -> io::Result<(Sender<Out>, Receiver<In>)> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    let socket = Arc::new(UnixStream::from_std(socket)?);
    let sender = Sender { socket: Arc::clone(&socket), broken: false, messages: PhantomData };
    Ok((sender, Receiver { socket, frames: FrameReader::default(), messages: PhantomData }))
}

/// Sends messages. When it is dropped, the other process reads the end of the stream, while what
/// that process writes can still be received.
pub(crate) struct Sender<M> {
    socket: Arc<UnixStream>,
    /// Part of a frame may have been written: nothing may follow it.
    broken: bool,
    messages: PhantomData<fn(M)>,
}

impl<M: Envelope> Sender<M> {
    /// Sends a message whole, with its descriptors, which stay the caller's. Waits for at most
    /// [`SEND_TIMEOUT`].
    ///
    /// After an error, or if the future is dropped before it is ready, the other process does not
    /// get the message, and nothing more can be sent. The exceptions are [`FrameError::TooLarge`],
    /// [`FrameError::TooManyDescriptors`], [`Error::Encode`] and [`Error::Descriptors`], which are
    /// found before anything is written.
    pub(crate) async fn send(
        &mut self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let payload = encode_message(message)?;
        let (expected, found) = (message.descriptors(), descriptors.len());
        if expected != found {
            return Err(Error::Descriptors { expected, found });
        }
        self.broken = true;
        let write = FrameWriter::write(&self.socket, &payload, descriptors);
        let written = time::timeout(SEND_TIMEOUT, write).await.map_err(|_| Error::SendTimeout)?;
        self.broken = !matches!(
            written,
            Ok(()) | Err(FrameError::TooLarge(_) | FrameError::TooManyDescriptors(_))
        );
        Ok(written?)
    }
}

impl<M> Drop for Sender<M> {
    fn drop(&mut self) {
        // Fails only if the other process has gone, which the receiver sees as well.
        let _ = net::shutdown(&*self.socket, Shutdown::Write);
    }
}

/// Receives messages.
pub(crate) struct Receiver<M> {
    socket: Arc<UnixStream>,
    frames: FrameReader,
    messages: PhantomData<fn() -> M>,
}

impl<M: Envelope> Receiver<M> {
    /// The next message, with its descriptors; `None` at the end of the stream, behind the last
    /// message that was sent whole. Safe to cancel.
    ///
    /// After an error nothing can be told about the messages that follow: the receiver is of no
    /// more use.
    pub(crate) async fn next(&mut self) -> Result<Option<(M, Vec<OwnedFd>)>, Error> {
        let (payload, descriptors) = match self.frames.next(&self.socket).await {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(FrameError::Truncated) => return Ok(None),
            // Linux reports it behind the last byte, if the other process has left something unread.
            Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let message: M = decode(&payload)?;
        let (expected, found) = (message.descriptors(), descriptors.len());
        if expected != found {
            return Err(Error::Descriptors { expected, found });
        }
        Ok(Some((message, descriptors)))
    }
}
