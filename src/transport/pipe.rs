//! Bulk data moved inside the kernel: socket, pipe, socket.

use std::{cell::RefCell, io, os::fd::OwnedFd, task::Poll};

use rustix::pipe::{self, PipeFlags, SpliceFlags};

use super::{reactor::Ready, socket::Socket};

/// Bytes a pipe holds, and the most moved by one call. The kernel's limit for an unprivileged
/// process is 1 MiB (fs.pipe-max-size); where it refuses that, the pipe keeps its default of 64 KiB.
const PIPE_BYTES: usize = 1 << 20;

/// Pipes kept for the next bulk stream. Each is two descriptors.
const PIPES_KEPT: usize = 16;

/// A worker's spare pipes, all empty.
#[derive(Default)]
pub struct Pipes(RefCell<Vec<Pipe>>);

impl Pipes {
    /// A pipe, or `None` where descriptors are short: a stream can do without.
    pub fn take(&self) -> Option<Pipe> {
        self.0.borrow_mut().pop().or_else(|| Pipe::new().ok())
    }

    pub fn give_back(&self, pipe: Pipe) {
        let mut kept = self.0.borrow_mut();
        if pipe.is_empty() && kept.len() < PIPES_KEPT {
            kept.push(pipe);
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
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let capacity = pipe::fcntl_setpipe_size(&write, PIPE_BYTES)
            .or_else(|_| pipe::fcntl_getpipe_size(&write))?;
        Ok(Self { read, write, capacity, held: 0 })
    }

    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Fills the pipe from `socket`; 0 at the peer's end.
    pub fn try_fill(&mut self, socket: &Socket) -> Poll<io::Result<usize>> {
        let filled = socket.try_transfer(Ready::READ, |fd| {
            pipe::splice(fd, None, &self.write, None, self.capacity, NOWAIT)
        });
        if let Poll::Ready(Ok(n)) = filled {
            self.held += n;
        }
        filled
    }

    /// Empties the pipe into `socket`, as far as that takes it.
    pub fn try_drain(&mut self, socket: &Socket) -> Poll<io::Result<usize>> {
        let drained = socket.try_transfer(Ready::WRITE, |fd| {
            pipe::splice(&self.read, None, fd, None, self.held, NOWAIT)
        });
        if let Poll::Ready(Ok(n)) = drained {
            self.held -= n;
        }
        drained
    }
}

const NOWAIT: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
