//! Bulk data moved inside the kernel: socket, pipe, socket.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    rc::Rc,
    task::Poll,
};

use rustix::pipe::{self, PipeFlags, SpliceFlags};

use super::{readiness::Readiness, socket::Socket};

/// Bytes a pipe holds, and the most moved by one call. The kernel's limit for an unprivileged
/// process is 1 MiB (fs.pipe-max-size); where it refuses that, the pipe keeps its default of 64 KiB.
const PIPE_BYTES: usize = 1 << 20;

/// A worker's pipes, each two descriptors, and at most [`Pipes::MAX_OPEN`] of them: a receiver that stops
/// reading keeps the pipe that has its bytes, and must not keep descriptors that clients wait for.
#[derive(Default)]
pub struct Pipes {
    /// Empty ones.
    spare: RefCell<Vec<Pipe>>,
    /// All there are, wherever they are.
    open: Rc<Cell<usize>>,
}

impl Pipes {
    /// Bulk streams at a time; more of them are copied.
    pub const MAX_OPEN: usize = 16;

    /// A pipe, or `None` where there are enough, or descriptors are short: a stream can do without.
    pub fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.spare.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.open.get() >= Self::MAX_OPEN {
            return None;
        }
        Pipe::new(&self.open).ok()
    }

    pub fn release(&self, pipe: Pipe) {
        if pipe.held == 0 {
            self.spare.borrow_mut().push(pipe);
        }
    }
}

/// A pipe and how many bytes are in it.
#[derive(Debug)]
pub struct Pipe {
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

    /// Bytes in it.
    pub fn buffered(&self) -> usize {
        self.held
    }

    /// Fills the pipe from `socket`, with `most` bytes if it has room for more; 0 at the peer's end.
    pub fn try_fill(&mut self, socket: &Socket, most: usize) -> Poll<io::Result<usize>> {
        let most = most.min(self.capacity);
        let filled = socket.try_transfer(Readiness::READ, |fd| {
            pipe::splice(fd, None, &self.write, None, most, NOWAIT)
        });
        if let Poll::Ready(Ok(n)) = filled {
            self.held += n;
        }
        filled
    }

    /// Empties the pipe into `socket`, as far as that takes it.
    pub fn try_drain(&mut self, socket: &Socket) -> Poll<io::Result<usize>> {
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
