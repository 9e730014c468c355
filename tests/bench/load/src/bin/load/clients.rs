//! Connected clients: what the scenarios with long sessions start from.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use mqtt_lb_bench::{
    mqtt::{self, Header},
    sys::{self, EDGE, Epoll, Events, HANGUP, READABLE, WRITABLE},
};

use crate::{Options, transport::Layer};

/// Connections being opened at once: well below any listener's backlog.
const OPENING: usize = 100;
/// Without an event for so long, what is awaited will not come.
pub const PATIENCE: Duration = Duration::from_secs(10);
pub const EVENTS: usize = 1024;

pub struct Client {
    pub socket: OwnedFd,
    layer: Layer,
    /// The answer being received: all answers of the stub fit.
    answer: [u8; 8],
    received: usize,
}

/// What one look at a socket brought.
pub enum Answer {
    Whole([u8; 8]),
    Incomplete,
}

impl Client {
    /// Starts to connect; the socket joins `epoll`, edge-triggered, with `token`.
    pub fn start(
        options: &Options,
        number: usize,
        epoll: &Epoll,
        token: usize,
    ) -> io::Result<Self> {
        let layer = options.transport.layer()?;
        let socket = sys::connect(options.target, options.source(number))?;
        epoll.add(&socket, token as u64, READABLE | WRITABLE | EDGE)?;
        Ok(Self { socket, layer, answer: [0; 8], received: 0 })
    }

    /// Goes on with the opening after an event; tells whether MQTT may be sent.
    pub fn open(&mut self, ready: u32) -> io::Result<bool> {
        self.layer.open(&self.socket, ready)
    }

    /// Whether its TLS handshake used a ticket.
    pub fn is_resumed(&self) -> bool {
        self.layer.is_resumed()
    }

    /// Sends a small packet whole.
    pub fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        if self.write(packet)? == packet.len() && !self.layer.holds_bytes() {
            Ok(())
        } else {
            Err(io::Error::other("no room for a small packet"))
        }
    }

    /// Takes as much of `bytes` as there is room for; tells how much.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.layer.write(&self.socket, bytes)
    }

    /// Sends what was taken and still waits for room; tells whether there was anything.
    pub fn flush(&mut self) -> io::Result<bool> {
        let held = self.layer.holds_bytes();
        self.layer.flush(&self.socket)?;
        Ok(held)
    }

    /// Takes leave and closes the socket.
    pub fn close(mut self) {
        self.layer.close(&self.socket);
    }

    /// Receives an answer, of which only one is ever under way.
    pub fn receive(&mut self) -> io::Result<Answer> {
        loop {
            let free = &mut self.answer[self.received..];
            let Some(count) = self.layer.read(&self.socket, free)? else {
                return Ok(Answer::Incomplete);
            };
            if count == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by the proxy"));
            }
            self.received += count;
            match Header::read(&self.answer[..self.received]) {
                Some(header) if header.total() == self.received => {
                    self.received = 0;
                    return Ok(Answer::Whole(self.answer));
                }
                Some(header) if header.total() < self.received => {
                    return Err(io::Error::other("more than one answer"));
                }
                // A layer may hold the rest already, of which no event will tell.
                _ => {}
            }
        }
    }
}

/// Client IDs as devices have them, 20 characters, each its own.
pub fn client_id(number: usize) -> String {
    // Knuth's multiplicative hash: the tail looks like a serial number's.
    let serial = (number as u32).wrapping_mul(2_654_435_761) & 0xff_ffff;
    format!("device-{number:06}-{serial:06x}")
}

/// Tells whether an answer is the accepting CONNACK.
pub fn is_accepted(answer: &[u8; 8]) -> bool {
    answer[0] >> 4 == mqtt::CONNACK && answer[3] == 0
}

/// Opens all of the options' clients: each has its CONNACK and is known to `epoll` by its place.
pub fn open_all(options: &Options, epoll: &Epoll) -> io::Result<Vec<Client>> {
    let mut clients: Vec<Client> = Vec::with_capacity(options.clients);
    let mut greeted = vec![false; options.clients];
    let mut accepted = 0;
    let mut events = Events::with_capacity(EVENTS);
    let mut last = Instant::now();
    while accepted < options.clients {
        while clients.len() < options.clients && clients.len() - accepted < OPENING {
            clients.push(Client::start(options, clients.len(), epoll, clients.len())?);
        }
        epoll.wait(&mut events, 100)?;
        if !events.is_empty() {
            last = Instant::now();
        } else if last.elapsed() > PATIENCE {
            let missing = options.clients - accepted;
            return Err(io::Error::other(format!("{missing} clients got no CONNACK")));
        }
        for (token, ready) in events.iter() {
            let at = token as usize;
            if !greeted[at] && clients[at].open(ready)? {
                greeted[at] = true;
                clients[at].send(&mqtt::connect(options.level, &client_id(at)))?;
            }
            if greeted[at] && ready & (READABLE | HANGUP) != 0 {
                match clients[at].receive()? {
                    Answer::Whole(answer) if is_accepted(&answer) => accepted += 1,
                    Answer::Whole(_) => return Err(io::Error::other("refused by a CONNACK")),
                    Answer::Incomplete => {}
                }
            }
        }
    }
    Ok(clients)
}
