//! Bytes from each side to the other, for as long as the session lasts.
//!
//! An idle session is this future and its [`Live`] record: no buffer, no timer.

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::{end::End, live::Live, shard::Shard};
use crate::{
    observe::{EndBy, EndCause, EndPhase, Event},
    transport::{Pipe, Socket},
};

/// Reads of one direction before the others get their turn.
const READS_PER_TURN: usize = 8;

/// A read that fills the scratch buffer this many times in a row is a bulk stream.
const FULL_READS_TO_BULK: u8 = 2;

/// A session after its CONNACK.
pub(super) struct Relay {
    shard: Rc<Shard>,
    live: Rc<Live>,
    slot: usize,
    /// Whether both sockets wake this task.
    watching: bool,
    inbound: Flow,
    outbound: Flow,
    /// Who ended its side first.
    first_to_end: Option<EndBy>,
}

impl Relay {
    /// `owed`: what the broker has sent and the client has not been given yet.
    pub(super) fn new(shard: Rc<Shard>, live: Live, owed: &[u8]) -> Self {
        let live = Rc::new(live);
        let slot = shard.sessions.borrow_mut().insert(live.clone());
        let mut outbound = Flow::default();
        outbound.owe(owed);
        Self {
            shard,
            live,
            slot,
            watching: false,
            inbound: Flow::default(),
            outbound,
            first_to_end: None,
        }
    }

    fn advance(&mut self, cx: &Context<'_>) -> Option<End> {
        if let Some(cause) = self.live.tally.verdict.get() {
            return Some(End::new(EndBy::Proxy, EndPhase::Relay, cause));
        }
        let (shard, live) = (&*self.shard, &*self.live);
        let (client, upstream) = (&live.client, &live.upstream);
        if !self.watching {
            self.watching = true;
            client.watch(cx);
            upstream.watch(cx);
        }
        let now = shard.seconds();
        let inbound = self.inbound.pump(shard, client, upstream, |n| live.count_in(n, now));
        // After a failed write too: the broker's last words may say why it left.
        let outbound = self.outbound.pump(shard, upstream, client, |n| live.count_out(n, now));
        for (moved, from, to) in
            [(inbound, EndBy::Client, EndBy::Upstream), (outbound, EndBy::Upstream, EndBy::Client)]
        {
            match moved {
                Ok(Moved::Stalled) => {}
                Ok(Moved::More) => cx.waker().wake_by_ref(),
                Ok(Moved::Ended) => {
                    let first = *self.first_to_end.get_or_insert(from);
                    if self.inbound.ended && self.outbound.ended {
                        return Some(End::new(first, EndPhase::Relay, EndCause::Closed));
                    }
                    self.side(to).shutdown();
                    self.live.tally.half_closed.set(now);
                }
                Err(Fault::Read(error)) => return Some(self.failed(from, to, &error)),
                Err(Fault::Write(error)) => return Some(self.failed(to, from, &error)),
            }
        }
        None
    }

    fn failed(&self, side: EndBy, other: EndBy, error: &io::Error) -> End {
        let end = End::failed(side, EndPhase::Relay, error);
        if end.cause == EndCause::Reset {
            self.side(other).reset_on_close();
        }
        end
    }

    fn side(&self, side: EndBy) -> &Socket {
        if side == EndBy::Client { &self.live.client } else { &self.live.upstream }
    }

    fn finish(&self, end: End) {
        self.shard.sessions.borrow_mut().remove(self.slot);
        self.live.flush_bytes();
        let (end, event) = if self.live.accepted {
            (end, Event::Disconnect)
        } else {
            // It was the broker's CONNACK that ended this one, whoever closed first after it.
            (End::new(EndBy::Upstream, EndPhase::Connack, EndCause::Refused), Event::Reject)
        };
        let (shard, live) = (self.shard.clone(), self.live.clone());
        shard.clone().record(move || {
            let bytes = (live.tally.bytes_in.get(), live.tally.bytes_out.get());
            live.record.log_end(&shard, event, bytes, &end);
        });
    }
}

impl Future for Relay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        match this.advance(cx) {
            None => Poll::Pending,
            Some(end) => {
                this.finish(end);
                Poll::Ready(())
            }
        }
    }
}

/// One direction.
#[derive(Default)]
struct Flow {
    /// What the receiver has not taken yet. While it is there nothing more is read, and that is
    /// the backpressure.
    left: Left,
    full_reads: u8,
    /// The sender's end of file has been read, and all before it passed on.
    ended: bool,
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

enum Moved {
    /// Nothing to read, or no room to write; the socket concerned will wake the relay.
    Stalled,
    /// There may be more to read; it is the others' turn.
    More,
    Ended,
}

enum Fault {
    Read(io::Error),
    Write(io::Error),
}

impl Flow {
    fn owe(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.left = Left::Bytes(Box::new(Bytes { bytes: bytes.into(), sent: 0 }));
        }
    }

    /// Moves what there is, a few reads of it.
    fn pump(
        &mut self,
        shard: &Shard,
        from: &Socket,
        to: &Socket,
        count: impl Fn(u64),
    ) -> Result<Moved, Fault> {
        if self.ended {
            return Ok(Moved::Stalled);
        }
        if self.settle(shard, to).map_err(Fault::Write)?.is_pending() {
            return Ok(Moved::Stalled);
        }
        for _ in 0..READS_PER_TURN {
            let read = match self.full_reads {
                FULL_READS_TO_BULK.. => self.splice(shard, from, to)?,
                _ => self.copy(shard, from, to)?,
            };
            match read {
                Poll::Pending => return Ok(Moved::Stalled),
                Poll::Ready(0) => {
                    self.ended = true;
                    return Ok(Moved::Ended);
                }
                Poll::Ready(n) => count(n as u64),
            }
            if !matches!(self.left, Left::Nothing) {
                return Ok(Moved::Stalled);
            }
        }
        Ok(Moved::More)
    }

    /// Writes what an earlier turn left.
    fn settle(&mut self, shard: &Shard, to: &Socket) -> io::Result<Poll<()>> {
        loop {
            match &mut self.left {
                Left::Nothing => return Ok(Poll::Ready(())),
                Left::Bytes(left) => match to.try_send(&left.bytes[left.sent..])? {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(n) => left.sent += n,
                },
                Left::Pipe(pipe) => match pipe.try_drain(to)? {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(_) => {}
                },
            }
            match std::mem::take(&mut self.left) {
                Left::Bytes(left) if left.sent == left.bytes.len() => {}
                Left::Pipe(pipe) if pipe.is_empty() => shard.pipes.give_back(*pipe),
                unfinished => self.left = unfinished,
            }
        }
    }

    /// One read and one write through the worker's scratch buffer.
    fn copy(&mut self, shard: &Shard, from: &Socket, to: &Socket) -> Result<Poll<usize>, Fault> {
        let mut scratch = shard.scratch.borrow_mut();
        let Poll::Ready(n) = from.try_recv(&mut scratch).map_err(Fault::Read)? else {
            return Ok(Poll::Pending);
        };
        if n == 0 {
            // A unix peer that has closed fails even a write of nothing.
            return Ok(Poll::Ready(0));
        }
        self.full_reads = if n == scratch.len() { self.full_reads + 1 } else { 0 };
        let sent = match to.try_send(&scratch[..n]).map_err(Fault::Write)? {
            Poll::Ready(sent) => sent,
            Poll::Pending => 0,
        };
        self.owe(&scratch[sent..n]);
        Ok(Poll::Ready(n))
    }

    /// One pipe full, moved inside the kernel.
    fn splice(&mut self, shard: &Shard, from: &Socket, to: &Socket) -> Result<Poll<usize>, Fault> {
        let Some(mut pipe) = shard.pipes.take() else {
            self.full_reads = 0;
            return self.copy(shard, from, to);
        };
        let filled = pipe.try_fill(from);
        if !matches!(filled, Poll::Ready(Ok(1..))) {
            // The stream pauses; what comes next may be small again.
            self.full_reads = 0;
        }
        while !pipe.is_empty() {
            match pipe.try_drain(to).map_err(Fault::Write)? {
                Poll::Ready(_) => {}
                Poll::Pending => {
                    self.left = Left::Pipe(Box::new(pipe));
                    return transpose(filled);
                }
            }
        }
        shard.pipes.give_back(pipe);
        transpose(filled)
    }
}

fn transpose(read: Poll<io::Result<usize>>) -> Result<Poll<usize>, Fault> {
    match read {
        Poll::Ready(read) => read.map(Poll::Ready).map_err(Fault::Read),
        Poll::Pending => Ok(Poll::Pending),
    }
}
