//! Stub brokers: they accept every CONNECT, acknowledge QoS 1, answer pings and count what they swallow.

use std::{
    io::{self, Read, Write},
    mem::take,
    net::SocketAddrV4,
    os::fd::OwnedFd,
};

use mqtt_lb_bench::{
    args::Args,
    mqtt::{self, Header},
    sys::{self, Epoll, Events, READABLE},
};
use serde_json::json;

const USAGE: &str = "\
Stub brokers, one for each --listen. A line on standard input is answered with their
counts as JSON; its end ends the program.

stub --listen ADDRESS [--listen ADDRESS …]";

/// Enough for any packet of the rig but a large PUBLISH, of which little should be copied.
const BUFFER: usize = 4096;
const EVENTS: usize = 512;
const STDIN: u64 = u64::MAX;

fn main() -> io::Result<()> {
    let mut args = Args::parse(USAGE);
    let addresses: Vec<SocketAddrV4> = args.all("--listen");
    if addresses.is_empty() {
        args.fail("--listen is missing");
    }
    args.finish();

    sys::raise_descriptor_limit()?;
    let epoll = Epoll::new()?;
    let mut brokers = Vec::new();
    for (at, address) in addresses.into_iter().enumerate() {
        let listener = sys::listen(address)?;
        epoll.add(&listener, at as u64, READABLE)?;
        brokers.push(Broker { listener, counts: Counts::default() });
    }
    epoll.add_stdin(STDIN)?;
    Stub { epoll, brokers, clients: Vec::new(), vacant: Vec::new(), buffer: vec![0; BUFFER] }.run()
}

struct Stub {
    epoll: Epoll,
    brokers: Vec<Broker>,
    clients: Vec<Option<Client>>,
    vacant: Vec<usize>,
    buffer: Vec<u8>,
}

struct Broker {
    listener: OwnedFd,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    connections: u64,
    connects: u64,
    publishes: u64,
    bytes: u64,
    /// Connections that ended otherwise than by the client's close.
    errors: u64,
}

struct Client {
    socket: OwnedFd,
    broker: usize,
    /// The start of a packet whose rest has not come yet.
    partial: Vec<u8>,
    /// Bytes of a PUBLISH still to be swallowed.
    skip: usize,
}

impl Stub {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.epoll.wait(&mut events, -1)?;
            let mut closed = Vec::new();
            for (token, _) in events.iter() {
                if token == STDIN {
                    if !self.report()? {
                        return Ok(());
                    }
                } else if let Some(at) = (token as usize).checked_sub(self.brokers.len()) {
                    if self.serve(at) {
                        closed.push(at);
                    }
                } else {
                    self.accept(token as usize)?;
                }
            }
            self.vacant.append(&mut closed);
        }
    }

    fn accept(&mut self, broker: usize) -> io::Result<()> {
        let Some(socket) = sys::accept(&self.brokers[broker].listener)? else { return Ok(()) };
        self.brokers[broker].counts.connections += 1;
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        // Level-triggered: a read a wake-up, and what it leaves comes up again.
        self.epoll.add(&socket, (self.brokers.len() + at) as u64, READABLE)?;
        self.clients[at] = Some(Client { socket, broker, partial: Vec::new(), skip: 0 });
        Ok(())
    }

    /// Reads once and answers; tells whether the client is gone.
    fn serve(&mut self, at: usize) -> bool {
        let Some(client) = &mut self.clients[at] else { return false };
        let counts = &mut self.brokers[client.broker].counts;
        let gone = match client.receive(&mut self.buffer, counts) {
            Ok(open) => !open,
            Err(_) => {
                counts.errors += 1;
                true
            }
        };
        if gone {
            self.clients[at] = None;
        }
        gone
    }

    /// Answers a line on standard input; tells whether there was one.
    fn report(&self) -> io::Result<bool> {
        let mut line = [0; 64];
        if io::stdin().read(&mut line)? == 0 {
            return Ok(false);
        }
        let counts: Vec<_> = self.brokers.iter().map(|broker| broker.counts.to_json()).collect();
        println!("{}", json!(counts));
        io::stdout().flush()?;
        Ok(true)
    }
}

impl Client {
    /// Reads once and answers; tells whether more can come.
    fn receive(&mut self, buffer: &mut [u8], counts: &mut Counts) -> io::Result<bool> {
        if self.skip > buffer.len() {
            let discarded = sys::discard(&self.socket, self.skip)?;
            let count = discarded.unwrap_or(0);
            self.skip -= count;
            counts.bytes += count as u64;
            return Ok(discarded != Some(0));
        }
        let Some(count) = sys::read(&self.socket, buffer)? else { return Ok(true) };
        counts.bytes += count as u64;
        if count == 0 {
            return Ok(false);
        }
        let skipped = self.skip.min(count);
        self.skip -= skipped;

        let mut answers = Vec::new();
        let fresh = &buffer[skipped..count];
        if self.partial.is_empty() {
            let used = self.answer(fresh, &mut answers, counts)?;
            self.partial.extend_from_slice(&fresh[used..]);
        } else {
            let mut bytes = take(&mut self.partial);
            bytes.extend_from_slice(fresh);
            let used = self.answer(&bytes, &mut answers, counts)?;
            self.partial.extend_from_slice(&bytes[used..]);
        }
        if !answers.is_empty() && sys::write(&self.socket, &answers)? != Some(answers.len()) {
            return Err(io::Error::other("a client does not read its answers"));
        }
        Ok(true)
    }

    /// Answers the packets in `bytes`; tells how many bytes they took.
    fn answer(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
        counts: &mut Counts,
    ) -> io::Result<usize> {
        let mut used = 0;
        while let Some(header) = Header::read(&bytes[used..]) {
            let rest = &bytes[used..];
            let whole = header.total() <= rest.len();
            match header.kind() {
                mqtt::PUBLISH if header.qos() == 0 || whole => {
                    counts.publishes += 1;
                    if header.qos() == 1 {
                        let at = mqtt::publish_id_at(rest).ok_or(io::ErrorKind::InvalidData)?;
                        answers.extend([mqtt::PUBACK << 4, 2, rest[at], rest[at + 1]]);
                    }
                    self.skip = header.total().saturating_sub(rest.len());
                    used += header.total().min(rest.len());
                }
                _ if !whole => break,
                mqtt::CONNECT => {
                    counts.connects += 1;
                    let level = mqtt::level(rest).ok_or(io::ErrorKind::InvalidData)?;
                    answers.extend_from_slice(mqtt::connack(level));
                    used += header.total();
                }
                mqtt::PINGREQ => {
                    answers.extend(mqtt::PINGRESP);
                    used += header.total();
                }
                _ => used += header.total(),
            }
        }
        Ok(used)
    }
}

impl Counts {
    fn to_json(&self) -> serde_json::Value {
        json!({
            "connections": self.connections,
            "connects": self.connects,
            "publishes": self.publishes,
            "bytes": self.bytes,
            "errors": self.errors,
        })
    }
}
