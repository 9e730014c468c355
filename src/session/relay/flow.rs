//! One direction of a relay: read, write, and what is kept when the receiver is slow.

use std::{io, task::Poll};

use crate::{
    net::{BULK_BYTES, FLOW_BYTES, Pipe, Socket, Stream},
    session::context::{READ_BYTES, WorkerContext},
};

/// Reads of one direction before the others get their turn, however little they bring.
const READS_PER_TURN: usize = 8;

/// A read that fills the scratch buffer this many times in a row is a bulk stream.
const FULL_READS_TO_BULK: u8 = 2;

/// One direction.
#[derive(Default)]
pub(in crate::session) struct Flow {
    /// What the receiver has not taken yet. While it is there nothing more is read, and that is
    /// the backpressure.
    left: Left,
    full_reads: u8,
    /// The sender's end of file has been read, and all before it passed on.
    pub(in crate::session) ended: bool,
    /// Whether the sender is not read, as the receiver takes nothing.
    pub(in crate::session) held_back: bool,
}

#[derive(Default)]
enum Left {
    #[default]
    Nothing,
    Bytes(Box<Bytes>),
    Pipe(Box<Pipe>),
}

struct Bytes {
    bytes: Box<[u8]>,
    sent: usize,
}

/// What one turn came to.
pub(in crate::session) enum Moved {
    /// Nothing to read, or no room to write; the socket concerned will wake the relay.
    Stalled,
    /// There may be more to do; it is the others' turn, and this flow's once it is admitted.
    More,
    Ended,
}

/// What was read.
pub(in crate::session) enum Chunk<'a> {
    Bytes(&'a [u8]),
    /// So many bytes, inside the kernel.
    Unseen(usize),
}

impl Chunk<'_> {
    pub(in crate::session) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Unseen(count) => *count as u64,
        }
    }
}

/// Which socket failed.
pub(in crate::session) enum Fault {
    Read(io::Error),
    Write(io::Error),
}

impl Flow {
    /// Takes over bytes that the receiver is to have first.
    pub(in crate::session) fn owe(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.left = Left::Bytes(Box::new(Bytes { bytes: bytes.into(), sent: 0 }));
        }
    }

    /// Moves what there is, up to its share of the turn. A bulk stream moves nothing unless the turn
    /// has `admitted` it.
    pub(in crate::session) fn pump(
        &mut self,
        context: &WorkerContext,
        from: &Stream,
        to: &Stream,
        admitted: bool,
        mut count: impl FnMut(Chunk<'_>),
    ) -> Result<Moved, Fault> {
        if self.is_bulk() && !admitted && !self.ended {
            return Ok(Moved::More);
        }
        if self.is_held_back_by(context, to)? || self.ended {
            return Ok(Moved::Stalled);
        }
        let mut moved = 0;
        for _ in 0..READS_PER_TURN {
            if moved >= FLOW_BYTES || (self.is_bulk() && !admitted) {
                return Ok(Moved::More);
            }
            let read = match self.pipe(context, from, to) {
                Some((pipe, from, to)) => {
                    let most = FLOW_BYTES - moved;
                    self.splice(context, pipe, (from, to), most, &mut count)?
                }
                None => self.copy(context, from, to, &mut count)?,
            };
            match read {
                Poll::Pending => return Ok(Moved::Stalled),
                Poll::Ready(0) => {
                    self.ended = true;
                    return Ok(Moved::Ended);
                }
                Poll::Ready(n) => {
                    moved += n;
                    context.reactor.turn.spend(n);
                }
            }
            if self.is_held_back_by(context, to)? {
                return Ok(Moved::Stalled);
            }
        }
        Ok(Moved::More)
    }

    /// Whether the receiver has yet to take what was read, so that nothing more is read.
    fn is_held_back_by(&mut self, context: &WorkerContext, to: &Stream) -> Result<bool, Fault> {
        self.held_back = self.settle(context, to).map_err(Fault::Write)?.is_pending();
        Ok(self.held_back)
    }

    /// Whether what it does next can take long.
    fn is_bulk(&self) -> bool {
        self.full_reads >= FULL_READS_TO_BULK || matches!(self.left, Left::Pipe(_))
    }

    /// Bytes read that the receiver has not taken.
    pub(in crate::session) fn left(&self) -> usize {
        match &self.left {
            Left::Nothing => 0,
            Left::Bytes(left) => left.bytes.len() - left.sent,
            Left::Pipe(pipe) => pipe.buffered(),
        }
    }

    /// Writes what an earlier turn left.
    fn settle(&mut self, context: &WorkerContext, to: &Stream) -> io::Result<Poll<()>> {
        loop {
            match &mut self.left {
                Left::Nothing => return Ok(to.try_flush()?),
                Left::Bytes(left) => match to.try_send(&left.bytes[left.sent..])? {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(n) => left.sent += n,
                },
                Left::Pipe(pipe) => match pipe.try_drain(to.socket())? {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(_) => {}
                },
            }
            match std::mem::take(&mut self.left) {
                Left::Bytes(left) if left.sent == left.bytes.len() => {}
                Left::Pipe(pipe) if pipe.buffered() == 0 => context.pipes.release(*pipe),
                unfinished => self.left = unfinished,
            }
        }
    }

    /// One read and one write through the worker's scratch buffer.
    fn copy(
        &mut self,
        context: &WorkerContext,
        from: &Stream,
        to: &Stream,
        count: &mut impl FnMut(Chunk<'_>),
    ) -> Result<Poll<usize>, Fault> {
        let scratch = &mut *context.scratch.lend();
        let size = if self.full_reads < FULL_READS_TO_BULK { READ_BYTES } else { BULK_BYTES };
        let read = scratch.receive(size, |room| from.try_recv(room));
        let Poll::Ready(n) = read.map_err(Fault::Read)? else { return Ok(Poll::Pending) };
        if n == 0 {
            // A unix peer that has closed fails even a write of nothing.
            return Ok(Poll::Ready(0));
        }
        self.full_reads = if n >= READ_BYTES { self.full_reads.saturating_add(1) } else { 0 };
        let sent = match to.try_send(scratch.bytes()).map_err(Fault::Write)? {
            Poll::Ready(sent) => sent,
            Poll::Pending => 0,
        };
        count(Chunk::Bytes(scratch.bytes()));
        self.owe(&scratch.bytes()[sent..]);
        Ok(Poll::Ready(n))
    }

    /// A pipe and the sockets it is for, once the stream is one for the kernel to move.
    fn pipe<'a>(
        &mut self,
        context: &WorkerContext,
        from: &'a Stream,
        to: &'a Stream,
    ) -> Option<(Pipe, &'a Socket, &'a Socket)> {
        if self.full_reads < FULL_READS_TO_BULK {
            return None;
        }
        let (from, to) = (from.plain()?, to.plain()?);
        // Where there is none, the stream has to show anew that it is worth one.
        self.full_reads = 0;
        let pipe = context.pipes.take()?;
        self.full_reads = FULL_READS_TO_BULK;
        Some((pipe, from, to))
    }

    /// One pipe full, or `most` bytes of it, moved inside the kernel.
    fn splice(
        &mut self,
        context: &WorkerContext,
        mut pipe: Pipe,
        (from, to): (&Socket, &Socket),
        most: usize,
        count: &mut impl FnMut(Chunk<'_>),
    ) -> Result<Poll<usize>, Fault> {
        let filled = transpose(pipe.try_fill(from, most))?;
        let Poll::Ready(n @ 1..) = filled else {
            // The stream pauses; what comes next may be small again.
            self.full_reads = 0;
            context.pipes.release(pipe);
            return Ok(filled);
        };
        while pipe.buffered() > 0 && pipe.try_drain(to).map_err(Fault::Write)?.is_ready() {}
        count(Chunk::Unseen(n));
        if pipe.buffered() > 0 {
            self.left = Left::Pipe(Box::new(pipe));
        } else {
            context.pipes.release(pipe);
        }
        Ok(filled)
    }
}

fn transpose(read: Poll<io::Result<usize>>) -> Result<Poll<usize>, Fault> {
    match read {
        Poll::Ready(read) => read.map(Poll::Ready).map_err(Fault::Read),
        Poll::Pending => Ok(Poll::Pending),
    }
}
