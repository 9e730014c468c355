//! Bulk data moved inside the kernel: socket, pipe, socket.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    rc::Rc,
    task::Poll,
};

use rustix::pipe::{self, PipeFlags, SpliceFlags};

use super::{
    readiness::Readiness,
    socket::{Socket, retry},
};

/// The capacity of a pipe, which also bounds the bytes moved per call. The kernel's limit for an
/// unprivileged process is 1 MiB (fs.pipe-max-size); if it refuses that, the pipe keeps its default
/// of 64 KiB.
const PIPE_BYTES: usize = 1 << 20;

/// A worker's pipes, at most [`Pipes::MAX_OPEN`]. Each takes two descriptors, and a receiver that
/// stops reading keeps its pipe occupied: pipes must not use up the descriptors that clients need.
#[derive(Default)]
pub(crate) struct Pipes {
    /// Empty pipes for the next use.
    spare: RefCell<Vec<Pipe>>,
    /// How many pipes are open, spare ones included.
    open: Rc<Cell<usize>>,
}

impl Pipes {
    /// Bulk streams that use a pipe at the same time; others are copied.
    pub(crate) const MAX_OPEN: usize = 16;

    /// A pipe; `None` if all are in use or descriptors are scarce: the stream is copied then.
    pub(crate) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.spare.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.open.get() >= Self::MAX_OPEN {
            return None;
        }
        Pipe::new(&self.open).ok()
    }

    /// Takes a pipe back for the next use; closes it if it is not empty.
    pub(crate) fn release(&self, pipe: Pipe) {
        if pipe.held == 0 {
            self.spare.borrow_mut().push(pipe);
        }
    }
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
    held: usize,
    open: Rc<Cell<usize>>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Pipe {
    fn new(open: &Rc<Cell<usize>>) -> io::Result<Self> {
        let (read, write) = pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let capacity = pipe::fcntl_setpipe_size(&write, PIPE_BYTES)
            .or_else(|_| pipe::fcntl_getpipe_size(&write))?;
        open.set(open.get() + 1);
        Ok(Self { read, write, capacity, held: 0, open: open.clone() })
    }

    /// Bytes in the pipe.
    pub(crate) fn buffered(&self) -> usize {
        self.held
    }

    /// Fills the pipe from `socket` with at most `limit` bytes; 0 at the peer's end.
    pub(crate) fn try_fill(&mut self, socket: &Socket, limit: usize) -> Poll<io::Result<usize>> {
        let limit = limit.min(self.capacity);
        let filled = socket.try_transfer(Readiness::READ, |fd| {
            pipe::splice(fd, None, &self.write, None, limit, NOWAIT)
        });
        if let Poll::Ready(Ok(n)) = filled {
            self.held += n;
        }
        filled
    }

    /// Takes all bytes out of the pipe.
    ///
    /// # Errors
    /// As read(2). The bytes that were read are lost, so the stream cannot go on.
    pub(crate) fn take_all(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        let mut read = 0;
        while read < bytes.len() {
            match retry(|| rustix::io::read(&self.read, &mut bytes[read..]))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => read += n,
            }
        }
        self.held = 0;
        Ok(bytes)
    }

    /// Moves as many bytes from the pipe to `socket` as the socket takes.
    pub(crate) fn try_drain(&mut self, socket: &Socket) -> Poll<io::Result<usize>> {
        let drained = socket.try_transfer(Readiness::WRITE, |fd| {
            pipe::splice(&self.read, None, fd, None, self.held, NOWAIT)
        });
        if let Poll::Ready(Ok(n)) = drained {
            self.held -= n;
        }
        drained
    }
}

const NOWAIT: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
