//! Bytes that wait to be passed on.

use std::{io, task::Poll};

/// Bytes that a reader, or the layer below, had no room for; uses no memory while it is empty.
#[derive(Default)]
pub(super) struct Backlog(Option<Box<Waiting>>);

/// Boxed, as idle connections have none.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(Waiting { bytes, sent: 0 })))
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `bytes`.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.end().extend_from_slice(bytes);
        }
    }

    /// The buffer to append to.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.0.get_or_insert_default().bytes
    }

    /// The bytes that wait.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.bytes[waiting.sent..])
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Moves bytes from the front to `to`, as far as it has room.
    pub(super) fn take_front(&mut self, to: &mut [u8]) -> usize {
        let n = self.len().min(to.len());
        to[..n].copy_from_slice(&self.bytes()[..n]);
        self.pass(n);
        n
    }

    /// Writes the bytes with `send`. Pending while `send` is.
    pub(super) fn flush(
        &mut self,
        send: impl Fn(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            match send(self.bytes())? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(n) => self.pass(n),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Forgets the first `n` bytes, which have been passed on.
    fn pass(&mut self, n: usize) {
        if n == self.len() {
            self.clear();
        } else if let Some(waiting) = &mut self.0 {
            waiting.sent += n;
        }
    }
}
