//! Bytes that wait to be written to the layer below.

use std::{io, task::Poll};

/// Bytes that the layer below had no room for; uses no memory while it is empty.
#[derive(Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Appends `bytes`.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The buffer to append to.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The bytes that wait.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes the bytes with `send`. Pending while `send` is.
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
