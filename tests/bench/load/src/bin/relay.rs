//! A raw epoll relay: the least that a user-space relay has to do, and so the floor for the proxies' numbers.
//!
//! One thread, edge-triggered epoll that each socket joins once and leaves by being closed, one read buffer for all.
//! It finds the client ID so that it can choose a broker, and checks, logs, times and counts nothing.

use std::{io, mem::take, net::SocketAddrV4, os::fd::OwnedFd};

use mqtt_lb_bench::{
    args::Args,
    mqtt,
    sys::{self, EDGE, Epoll, Events, HANGUP, READABLE, WRITABLE},
};

const USAGE: &str = "\
Relays MQTT connections to brokers chosen by client ID.

relay --listen ADDRESS --broker ADDRESS [--broker ADDRESS …] [--splice]

  --splice  move streams that keep filling the buffer with splice(2)";

/// What most proxies read at once, and about what a socket buffer holds before it is tuned up.
const SCRATCH: usize = 64 * 1024;
/// The largest pipe that needs no privilege by default (pipe(7)).
const PIPE: usize = 1024 * 1024;
/// So many full buffers in a row make a stream.
const FULL_READS: u8 = 2;
const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 512;

fn main() -> io::Result<()> {
    let mut args = Args::parse(USAGE);
    let listen: SocketAddrV4 = args.required("--listen");
    let brokers: Vec<SocketAddrV4> = args.all("--broker");
    let splice = args.flag("--splice");
    if brokers.is_empty() {
        args.fail("--broker is missing");
    }
    args.finish();

    sys::raise_descriptor_limit()?;
    let listener = sys::listen(listen)?;
    let mut relay = Relay {
        epoll: Epoll::new()?,
        brokers,
        sessions: Vec::new(),
        vacant: Vec::new(),
        closed: Vec::new(),
        mover: Mover { scratch: vec![0; SCRATCH], splice, pipes: Vec::new() },
    };
    // Level-triggered: one accept a wake-up needs no second one to learn that the queue is empty.
    relay.epoll.add(&listener, LISTENER, READABLE)?;

    let mut events = Events::with_capacity(EVENTS);
    loop {
        relay.epoll.wait(&mut events, -1)?;
        for (token, ready) in events.iter() {
            if token == LISTENER {
                relay.accept(&listener)?;
            } else {
                relay.on_ready(token, ready);
            }
        }
        // Only now, so that no event of this batch can meet a new session in an old place.
        relay.vacant.append(&mut relay.closed);
    }
}

struct Relay {
    epoll: Epoll,
    brokers: Vec<SocketAddrV4>,
    sessions: Vec<Option<Session>>,
    vacant: Vec<usize>,
    closed: Vec<usize>,
    mover: Mover,
}

struct Session {
    client: OwnedFd,
    /// `None` until the CONNECT is whole, which waits in `up.unsent`.
    broker: Option<OwnedFd>,
    up: Direction,
    down: Direction,
}

/// What flows one way: from its source to its sink.
#[derive(Default)]
struct Direction {
    /// What a short write left.
    unsent: Vec<u8>,
    readable: bool,
    /// The source has sent its last byte; it may still have to be read.
    hung_up: bool,
    ended: bool,
    full_reads: u8,
    pipe: Option<Pipe>,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    filled: usize,
}

impl Relay {
    fn accept(&mut self, listener: &OwnedFd) -> io::Result<()> {
        let Some(client) = sys::accept(listener)? else { return Ok(()) };
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() - 1
        });
        self.epoll.add(&client, token(at, Side::Client), READABLE | WRITABLE | EDGE)?;
        let (up, down) = Default::default();
        self.sessions[at] = Some(Session { client, broker: None, up, down });
        Ok(())
    }

    fn on_ready(&mut self, token: u64, ready: u32) {
        let at = (token >> 1) as usize;
        let Some(session) = &mut self.sessions[at] else { return };
        let side = if token & 1 == 0 { Side::Client } else { Side::Broker };
        let (from_side, to_side) = match side {
            Side::Client => (&mut session.up, &session.down),
            Side::Broker => (&mut session.down, &session.up),
        };
        from_side.readable |= ready & (READABLE | HANGUP) != 0;
        from_side.hung_up |= ready & HANGUP != 0;
        let to_side_waits = ready & WRITABLE != 0 && to_side.waits();
        let from_side_readable = from_side.readable;

        let outcome = if session.broker.is_none() {
            session.open(&mut self.mover, &self.brokers).and_then(|()| match &session.broker {
                Some(broker) => self.epoll.add(
                    broker,
                    self::token(at, Side::Broker),
                    READABLE | WRITABLE | EDGE,
                ),
                None => Ok(()),
            })
        } else {
            let moved =
                if from_side_readable { session.pump(side, &mut self.mover) } else { Ok(()) };
            moved.and_then(|()| match to_side_waits {
                true => session.pump(side.other(), &mut self.mover),
                false => Ok(()),
            })
        };
        if outcome.is_err() || session.is_over() {
            self.sessions[at] = None;
            self.closed.push(at);
        }
    }
}

impl Session {
    /// Reads on towards a whole CONNECT and then dials the broker.
    fn open(&mut self, mover: &mut Mover, brokers: &[SocketAddrV4]) -> io::Result<()> {
        if !self.up.readable {
            return Ok(());
        }
        let Some(count) = sys::read(&self.client, &mut mover.scratch)? else {
            self.up.readable = false;
            return Ok(());
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.up.readable = count == SCRATCH || self.up.hung_up;
        self.up.unsent.extend_from_slice(&mover.scratch[..count]);

        let whole = mqtt::Header::read(&self.up.unsent)
            .is_some_and(|header| header.total() <= self.up.unsent.len());
        if whole {
            let id = mqtt::client_id(&self.up.unsent).ok_or(io::ErrorKind::InvalidData)?;
            let broker = brokers[(fnv1a(id) % brokers.len() as u64) as usize];
            self.broker = Some(sys::connect(broker, None)?);
        }
        Ok(())
    }

    /// Moves what can be moved away from `source`.
    fn pump(&mut self, source: Side, mover: &mut Mover) -> io::Result<()> {
        let Some(broker) = &self.broker else { return Ok(()) };
        let (direction, back, from, to) = match source {
            Side::Client => (&mut self.up, &self.down, &self.client, broker),
            Side::Broker => (&mut self.down, &self.up, broker, &self.client),
        };
        let ended_before = direction.ended;
        mover.pump(direction, from, to)?;
        // Where both ways have ended, the close that follows says it too.
        if direction.ended && !ended_before && !back.ended {
            sys::shutdown_write(to)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.up.ended && self.down.ended
    }
}

impl Direction {
    /// Whether something waits for room at the sink.
    fn waits(&self) -> bool {
        !self.unsent.is_empty() || self.pipe.as_ref().is_some_and(|pipe| pipe.filled > 0)
    }
}

/// The means to move bytes, shared by all sessions.
struct Mover {
    scratch: Vec<u8>,
    splice: bool,
    pipes: Vec<Pipe>,
}

impl Mover {
    fn pump(&mut self, direction: &mut Direction, from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
        if !flush(direction, to)? {
            return Ok(());
        }
        if direction.pipe.is_some() {
            return self.pump_spliced(direction, from, to);
        }
        while direction.readable && !direction.ended {
            let Some(count) = sys::read(from, &mut self.scratch)? else {
                direction.readable = false;
                break;
            };
            // A short read has emptied the socket, and what comes later is a new edge.
            let short = count < SCRATCH;
            direction.readable = !short;
            direction.ended = count == 0 || (short && direction.hung_up);
            direction.full_reads = if short { 0 } else { direction.full_reads + 1 };

            let written =
                if count > 0 { sys::write(to, &self.scratch[..count])?.unwrap_or(0) } else { 0 };
            if written < count {
                direction.unsent.extend_from_slice(&self.scratch[written..count]);
                // The end is passed on after what is left: it is read again then.
                direction.readable |= direction.ended;
                direction.ended = false;
                break;
            }
            if self.splice && direction.full_reads >= FULL_READS {
                direction.full_reads = 0;
                direction.pipe = Some(self.take_pipe()?);
                return self.pump_spliced(direction, from, to);
            }
        }
        Ok(())
    }

    /// As [`Self::pump`], through the direction's pipe, which is given back once a wake-up brings less than a scratch buffer.
    fn pump_spliced(
        &mut self,
        direction: &mut Direction,
        from: &OwnedFd,
        to: &OwnedFd,
    ) -> io::Result<()> {
        let Some(pipe) = &mut direction.pipe else { return Ok(()) };
        let mut moved = 0;
        loop {
            while pipe.filled > 0 {
                let Some(count) = sys::splice(&pipe.read, to, pipe.filled)? else { return Ok(()) };
                pipe.filled -= count;
                moved += count;
            }
            match sys::splice(from, &pipe.write, PIPE)? {
                Some(0) => direction.ended = true,
                Some(count) => {
                    pipe.filled = count;
                    continue;
                }
                None => direction.readable = false,
            }
            if moved < SCRATCH || direction.ended {
                self.pipes.extend(direction.pipe.take());
            }
            return Ok(());
        }
    }

    fn take_pipe(&mut self) -> io::Result<Pipe> {
        if let Some(pipe) = self.pipes.pop() {
            return Ok(pipe);
        }
        let (read, write) = sys::pipe(PIPE as i32)?;
        Ok(Pipe { read, write, filled: 0 })
    }
}

/// Writes what an earlier short write left; tells whether nothing is left.
fn flush(direction: &mut Direction, to: &OwnedFd) -> io::Result<bool> {
    if direction.unsent.is_empty() {
        return Ok(true);
    }
    let written = sys::write(to, &direction.unsent)?.unwrap_or(0);
    if written == direction.unsent.len() {
        drop(take(&mut direction.unsent));
        return Ok(true);
    }
    direction.unsent.drain(..written);
    Ok(false)
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Broker,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Broker,
            Self::Broker => Self::Client,
        }
    }
}

fn token(at: usize, side: Side) -> u64 {
    (at as u64) << 1 | side as u64
}

/// FNV-1a, 64 bits: cheap, and even enough for three brokers.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
