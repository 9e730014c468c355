//! Bytes that wait to be written.

use std::{io, task::Poll};

/// What a layer has made and what is below it had no room for; no memory while there is nothing.
#[derive(Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Keeps `bytes` behind all that is kept.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Where more can be put behind all that is kept.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is kept.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes what is kept, by `send`. Pending while that has no room.
    pub(super) fn flush(
        &mut self,
        send: impl Fn(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            match send(self.bytes())? {
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
