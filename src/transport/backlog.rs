//! Bytes that a socket has not taken yet.

use std::{io, task::Poll};

use super::socket::Socket;

/// What a layer has made and its socket had no room for; no memory while there is nothing.
#[derive(Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Writes `bytes`, and keeps what the socket does not take. There must be nothing kept.
    pub(super) fn send(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.len() == 0 && !bytes.is_empty() {
            match socket.try_send(bytes)? {
                Poll::Ready(sent) => sent,
                Poll::Pending => 0,
            }
        } else {
            0
        };
        self.keep(&bytes[sent..]);
        Ok(())
    }

    /// Keeps `bytes` for the next write.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What is kept.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes what is kept. Pending while the socket has no room.
    pub(super) fn flush(&mut self, socket: &Socket) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            match socket.try_send(self.bytes())? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(n) => self.sent += n,
            }
        }
        if self.sent > 0 {
            self.clear();
        }
        Poll::Ready(Ok(()))
    }
}
