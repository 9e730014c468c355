//! One direction of a relay: read, write, and store what a slow receiver has not taken.

use std::{io, task::Poll};

use crate::{
    net::{BULK_BYTES, Pipe, Socket, Stream},
    session::context::{READ_BYTES, WorkerContext},
};

/// Reads of one direction before others get their turn, however few bytes they return.
const MAX_READS_PER_TURN: usize = 8;

/// A stream that fills the scratch buffer this many times in a row is bulk.
const FULL_READS_TO_BULK: u8 = 2;

/// One direction of a relay.
#[derive(Default)]
pub(crate) struct Flow {
    /// Data that the receiver has not taken yet. Until it has, nothing more is read: this is the
    /// backpressure.
    pub(super) unsent: Unsent,
    pub(super) full_reads: u8,
    /// Whether the sender's end was read and everything before it was passed on.
    pub(crate) ended: bool,
    /// Whether nothing is read from the sender because the receiver does not read.
    pub(crate) held_back: bool,
}

#[derive(Default)]
pub(super) enum Unsent {
    #[default]
    Nothing,
    Bytes(Box<UnsentBytes>),
    Pipe(Box<Pipe>),
}

pub(super) struct UnsentBytes {
    pub(super) bytes: Box<[u8]>,
    pub(super) sent: usize,
}

/// What a direction may move in one turn.
#[derive(Clone, Copy)]
pub(crate) struct FlowShare {
    /// Whether the turn has admitted the session's bulk streams; otherwise they move nothing.
    pub(crate) admitted: bool,
    pub(crate) max_bytes: usize,
}

/// How far a direction got in one turn.
pub(crate) enum FlowProgress {
    /// There is nothing to read, or the receiver takes nothing; the socket will wake the relay.
    Stalled,
    /// There may be more to do once this flow is admitted to another turn.
    More,
    Ended,
}

/// The data of one read.
pub(crate) enum RelayedChunk<'a> {
    Bytes(&'a [u8]),
    /// This many bytes were moved inside the kernel.
    Spliced(usize),
}

impl RelayedChunk<'_> {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Spliced(count) => *count as u64,
        }
    }
}

/// Which socket failed.
pub(crate) enum FlowError {
    Read(io::Error),
    Write(io::Error),
}

impl Flow {
    /// Stores bytes to be sent before anything else.
    pub(crate) fn store(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.unsent = Unsent::Bytes(Box::new(UnsentBytes { bytes: bytes.into(), sent: 0 }));
        }
    }

    /// Moves what is available, up to the flow's share of the turn.
    pub(crate) fn pump(
        &mut self,
        context: &WorkerContext,
        from: &Stream,
        to: &Stream,
        share: FlowShare,
        mut count: impl FnMut(RelayedChunk<'_>),
    ) -> Result<FlowProgress, FlowError> {
        let FlowShare { admitted, max_bytes } = share;
        if self.is_bulk() && !admitted && !self.ended {
            return Ok(FlowProgress::More);
        }
        if self.is_held_back_by(context, to)? || self.ended || max_bytes == 0 {
            return Ok(FlowProgress::Stalled);
        }
        let mut moved = 0;
        for _ in 0..MAX_READS_PER_TURN {
            if moved >= max_bytes || (self.is_bulk() && !admitted) {
                return Ok(FlowProgress::More);
            }
            let max = max_bytes - moved;
            let read = match self.pipe(context, from, to) {
                Some((pipe, from, to)) => {
                    self.splice(context, pipe, (from, to), max, &mut count)?
                }
                None => self.copy(context, from, to, max, &mut count)?,
            };
            match read {
                Poll::Pending => return Ok(FlowProgress::Stalled),
                Poll::Ready(0) => {
                    self.ended = true;
                    return Ok(FlowProgress::Ended);
                }
                Poll::Ready(n) => {
                    moved += n;
                    context.reactor.turn.spend(n);
                }
            }
            if self.is_held_back_by(context, to)? {
                return Ok(FlowProgress::Stalled);
            }
        }
        Ok(FlowProgress::More)
    }

    /// Whether the receiver still has to take what was read; until then, nothing more is read.
    fn is_held_back_by(&mut self, context: &WorkerContext, to: &Stream) -> Result<bool, FlowError> {
        self.held_back = self.send_unsent(context, to).map_err(FlowError::Write)?.is_pending();
        Ok(self.held_back)
    }

    /// Whether the next step may take long.
    fn is_bulk(&self) -> bool {
        self.full_reads >= FULL_READS_TO_BULK || matches!(self.unsent, Unsent::Pipe(_))
    }

    /// The number of bytes that were read and that the receiver has not taken yet.
    pub(crate) fn unsent_bytes(&self) -> usize {
        match &self.unsent {
            Unsent::Nothing => 0,
            Unsent::Bytes(unsent) => unsent.bytes.len() - unsent.sent,
            Unsent::Pipe(pipe) => pipe.buffered(),
        }
    }

    /// Sends what an earlier turn could not send.
    fn send_unsent(&mut self, context: &WorkerContext, to: &Stream) -> io::Result<Poll<()>> {
        loop {
            match &mut self.unsent {
                Unsent::Nothing => return Ok(to.try_flush()?),
                Unsent::Bytes(unsent) => match to.try_send(&unsent.bytes[unsent.sent..])? {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(n) => unsent.sent += n,
                },
                Unsent::Pipe(pipe) => match pipe.try_drain(to.socket())? {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(_) => {}
                },
            }
            match std::mem::take(&mut self.unsent) {
                Unsent::Bytes(unsent) if unsent.sent == unsent.bytes.len() => {}
                Unsent::Pipe(pipe) if pipe.buffered() == 0 => context.pipes.release(*pipe),
                unfinished => self.unsent = unfinished,
            }
        }
    }

    /// One read of at most `max` bytes and one write, through the worker's scratch buffer.
    fn copy(
        &mut self,
        context: &WorkerContext,
        from: &Stream,
        to: &Stream,
        max: usize,
        count: &mut impl FnMut(RelayedChunk<'_>),
    ) -> Result<Poll<usize>, FlowError> {
        let scratch = &mut *context.scratch.lend();
        let size = if self.full_reads < FULL_READS_TO_BULK { READ_BYTES } else { BULK_BYTES };
        let read = scratch.receive(size.min(max), |room| from.try_recv(room));
        let Poll::Ready(n) = read.map_err(FlowError::Read)? else { return Ok(Poll::Pending) };
        if n == 0 {
            // On a unix socket whose peer has closed, even an empty write fails.
            return Ok(Poll::Ready(0));
        }
        self.full_reads = if n >= READ_BYTES { self.full_reads.saturating_add(1) } else { 0 };
        let sent = match to.try_send(scratch.bytes()).map_err(FlowError::Write)? {
            Poll::Ready(sent) => sent,
            Poll::Pending => 0,
        };
        count(RelayedChunk::Bytes(scratch.bytes()));
        self.store(&scratch.bytes()[sent..]);
        Ok(Poll::Ready(n))
    }

    /// A pipe and its two sockets, if the stream is bulk and both are plain sockets.
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
        // Without a free pipe, the stream has to qualify as bulk again.
        self.full_reads = 0;
        let pipe = context.pipes.take()?;
        self.full_reads = FULL_READS_TO_BULK;
        Some((pipe, from, to))
    }

    /// Moves up to one pipe's capacity, at most `max` bytes, inside the kernel.
    fn splice(
        &mut self,
        context: &WorkerContext,
        mut pipe: Pipe,
        (from, to): (&Socket, &Socket),
        max: usize,
        count: &mut impl FnMut(RelayedChunk<'_>),
    ) -> Result<Poll<usize>, FlowError> {
        let filled = transpose(pipe.try_fill(from, max))?;
        let Poll::Ready(n @ 1..) = filled else {
            // The stream pauses; what follows may be small again.
            self.full_reads = 0;
            context.pipes.release(pipe);
            return Ok(filled);
        };
        while pipe.buffered() > 0 && pipe.try_drain(to).map_err(FlowError::Write)?.is_ready() {}
        count(RelayedChunk::Spliced(n));
        if pipe.buffered() > 0 {
            self.unsent = Unsent::Pipe(Box::new(pipe));
        } else {
            context.pipes.release(pipe);
        }
        Ok(filled)
    }
}

fn transpose(read: Poll<io::Result<usize>>) -> Result<Poll<usize>, FlowError> {
    match read {
        Poll::Ready(read) => read.map(Poll::Ready).map_err(FlowError::Read),
        Poll::Pending => Ok(Poll::Pending),
    }
}
