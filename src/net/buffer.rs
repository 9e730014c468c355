//! Buffers for bytes in transit, whose memory is kept for the next use.

use std::{io, rc::Rc, task::Poll};

use super::{
    aead_keys::AeadKeys,
    loan::{Empty, SharedBuffer},
};

/// A growing buffer. Only bytes that were appended can be read, so emptying it is a single store:
/// the old bytes stay in memory beyond its end.
#[derive(Default)]
pub(crate) struct Buffer {
    /// Never shortened, because growing it again writes zeros.
    memory: Vec<u8>,
    len: usize,
}

impl Buffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends what `read` writes into `room` bytes.
    pub(crate) fn receive(
        &mut self,
        room: usize,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let received = read(self.room(room));
        if let Poll::Ready(Ok(n)) = received {
            self.len += n.min(room);
        }
        received
    }

    /// Appends what `encode` writes into `room` bytes.
    pub(crate) fn encode<E>(
        &mut self,
        room: usize,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let n = encode(self.room(room))?;
        self.len += n.min(room);
        Ok(())
    }

    fn room(&mut self, size: usize) -> &mut [u8] {
        let end = self.len + size;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        &mut self.memory[self.len..end]
    }
}

/// A worker's buffers for the layers over its sockets, and what else they share.
#[derive(Default)]
pub(super) struct LayerBuffers {
    /// TLS records that have been read.
    pub(super) inbox: SharedBuffer<Buffer>,
    /// TLS records to be sent.
    pub(super) outbox: SharedBuffer<Buffer>,
    /// WebSocket frames to be sent.
    pub(super) frames: SharedBuffer<Vec<u8>>,
    /// The keys of TLS connections.
    pub(super) keys: Rc<AeadKeys>,
}

impl Empty for Buffer {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn empty(&mut self) {
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_appended_bytes_can_be_read() {
        let mut buffer = Buffer::default();
        buffer.extend(b"of another");
        buffer.empty();
        assert_eq!(buffer.bytes(), b"");
        let read = buffer.receive(8, |room| {
            room[..2].copy_from_slice(b"ab");
            Poll::Ready(Ok(2))
        });
        assert!(matches!(read, Poll::Ready(Ok(2))));
        assert!(buffer.receive(8, |_| Poll::Pending).is_pending());
        let refused = buffer.encode(8, |room| {
            room.fill(b'x');
            Err("refused")
        });
        assert_eq!(refused, Err("refused"));
        let encoded = buffer.encode(1, |room| {
            room[0] = b'c';
            Ok::<_, ()>(1)
        });
        assert_eq!(encoded, Ok(()));
        assert_eq!(buffer.bytes_mut(), b"abc");
    }
}
