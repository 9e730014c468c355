//! QoS 1 ping-pong: every client has one PUBLISH under way.

use std::{io, time::Instant};

use mqtt_lb_bench::{
    mqtt,
    sys::{Epoll, Events, HANGUP, READABLE},
};

use crate::{
    Options,
    clients::{Answer, Client, EVENTS, PATIENCE, open_all},
    result::Outcome,
    say_and_wait,
};

const TOPIC: &str = "site/7/device/telemetry";

struct Players {
    epoll: Epoll,
    clients: Vec<Client>,
    /// When each client's PUBLISH was sent.
    sent: Vec<Instant>,
    /// One for all: the packet ID is written into it.
    publish: Vec<u8>,
    id_at: usize,
}

pub fn run(options: &Options) -> io::Result<()> {
    let epoll = Epoll::new()?;
    let clients = open_all(options, &epoll)?;
    let publish = mqtt::publish(options.level, TOPIC, Some(1), options.size);
    let id_at = mqtt::publish_id_at(&publish).ok_or(io::ErrorKind::InvalidData)?;
    let sent = vec![Instant::now(); clients.len()];
    let mut players = Players { epoll, clients, sent, publish, id_at };

    // Once around, to have every session's memory warm.
    let mut outcome = players.play(|_| false)?;
    if outcome.to_json()["errors"] == 0 {
        say_and_wait("ready")?;
        let begin = Instant::now();
        outcome = players.play(|now| now.duration_since(begin) < options.seconds)?;
    }
    say_and_wait(&outcome.to_json().to_string())?;
    Ok(())
}

impl Players {
    /// Every client sends, and again at every answer while `goes_on` says so; ends when all are answered.
    fn play(&mut self, goes_on: impl Fn(Instant) -> bool) -> io::Result<Outcome> {
        let mut outcome = Outcome::new();
        let begin = Instant::now();
        for at in 0..self.clients.len() {
            self.serve(at, 1)?;
        }
        let mut ids = vec![1_u16; self.clients.len()];
        let mut under_way = self.clients.len();
        let mut events = Events::with_capacity(EVENTS);
        while under_way > 0 {
            self.epoll.wait(&mut events, PATIENCE.as_millis() as i32)?;
            if events.is_empty() {
                outcome.failed(format!("{under_way} clients got no PUBACK"));
                break;
            }
            for (token, ready) in events.iter() {
                if ready & (READABLE | HANGUP) == 0 {
                    continue;
                }
                let at = token as usize;
                match self.clients[at].receive() {
                    Ok(Answer::Incomplete) => continue,
                    Ok(Answer::Whole([0x40, 2, high, low, ..]))
                        if u16::from_be_bytes([high, low]) == ids[at] => {}
                    Ok(Answer::Whole(answer)) => {
                        outcome.failed(format!("{answer:02x?}, not a PUBACK"))
                    }
                    Err(error) => {
                        outcome.failed(error);
                        under_way -= 1;
                        continue;
                    }
                }
                let now = Instant::now();
                outcome.done(now.duration_since(self.sent[at]));
                if goes_on(now) {
                    // 0 is no packet ID (MQTT 5.0, 2.2.1).
                    ids[at] = ids[at].checked_add(1).unwrap_or(1);
                    self.serve(at, ids[at])?;
                } else {
                    under_way -= 1;
                }
            }
        }
        outcome.elapsed = begin.elapsed();
        Ok(outcome)
    }

    fn serve(&mut self, at: usize, id: u16) -> io::Result<()> {
        self.publish[self.id_at..self.id_at + 2].copy_from_slice(&id.to_be_bytes());
        self.sent[at] = Instant::now();
        self.clients[at].send(&self.publish)
    }
}
