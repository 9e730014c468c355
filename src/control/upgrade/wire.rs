//! Messages with descriptors between the two processes of an upgrade.

use std::{
    collections::VecDeque,
    io,
    io::IoSlice,
    io::IoSliceMut,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::{io::Interest, net::UnixStream};

use super::state::{Listening, ProcessState};

/// The most descriptors of one sendmsg(2): SCM_MAX_FD.
const MAX_BATCH: usize = 253;

/// The longest message.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

const HEADER_BYTES: usize = 8;

/// A message of either side.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    Hello {
        version: u32,
        program: String,
        pid: u32,
    },
    /// The descriptors are those of `Listening`, in its order.
    Listening(Listening),
    State(Box<ProcessState>),
    Ready,
    Failed {
        why: String,
    },
    Go,
    Accepting,
    Totals(crate::metrics::Totals),
    Remaining {
        connections: u64,
    },
    Finished,
    ReopenLogs,
    Drain,
}

pub(super) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Connection {
    pub(super) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        Ok(Self { stream, received: Vec::new(), descriptors: VecDeque::new() })
    }

    pub(super) async fn send(&self, message: &Message, descriptors: &[OwnedFd]) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend((descriptors.len() as u32).to_le_bytes());
        frame.extend(body);
        let mut rest = &frame[..];
        for batch in descriptors.chunks(MAX_BATCH) {
            let (first, after) = rest.split_at(1);
            self.send_some(first, batch).await?;
            rest = after;
        }
        while !rest.is_empty() {
            let sent = self.send_some(rest, &[]).await?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    async fn send_some(&self, bytes: &[u8], batch: &[OwnedFd]) -> io::Result<usize> {
        let borrowed: Vec<_> = batch.iter().map(AsFd::as_fd).collect();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_BATCH))];
        self.stream
            .async_io(Interest::WRITABLE, || {
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !borrowed.is_empty() {
                    control.push(SendAncillaryMessage::ScmRights(&borrowed));
                }
                Ok(sendmsg(
                    &self.stream,
                    &[IoSlice::new(bytes)],
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?)
            })
            .await
    }

    /// Cancel safe.
    pub(super) async fn receive(&mut self) -> io::Result<(Message, Vec<OwnedFd>)> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            let mut buffer = vec![0; 64 << 10];
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_BATCH))];
            let descriptors = &mut self.descriptors;
            let stream = &self.stream;
            let n = stream
                .async_io(Interest::READABLE, || {
                    let mut control = RecvAncillaryBuffer::new(&mut space);
                    let received = recvmsg(
                        stream,
                        &mut [IoSliceMut::new(&mut buffer)],
                        &mut control,
                        RecvFlags::CMSG_CLOEXEC,
                    )?;
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(rights) = message {
                            descriptors.extend(rights);
                        }
                    }
                    Ok(received.bytes)
                })
                .await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&buffer[..n]);
        }
    }

    fn take(&mut self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let Some(header) = self.received.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [a, b, c, d, e, f, g, h] = *header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let count = u32::from_le_bytes([e, f, g, h]) as usize;
        if len > MAX_MESSAGE_BYTES {
            return Err(io::Error::other("a message is too long"));
        }
        let Some(body) = self.received.get(HEADER_BYTES..HEADER_BYTES + len) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)?;
        self.received.drain(..HEADER_BYTES + len);
        if self.descriptors.len() < count {
            return Err(io::Error::other("descriptors are missing"));
        }
        Ok(Some((message, self.descriptors.drain(..count).collect())))
    }
}
