//! Churn: connect, handshake if there is one, CONNECT, CONNACK, close.

use std::{io, ops::Range, time::Instant};

use mqtt_lb_bench::{
    mqtt,
    sys::{Epoll, Events, HANGUP, READABLE},
};

use crate::{
    Options,
    clients::{Answer, Client, EVENTS, PATIENCE, client_id, is_accepted},
    result::Outcome,
    say_and_wait,
};

struct Attempt {
    client: Client,
    number: usize,
    started: Instant,
    greeted: bool,
}

pub fn run(options: &Options) -> io::Result<()> {
    let epoll = Epoll::new()?;
    // As many as are under way at once, to have pages, pools and caches warm and a TLS ticket for each.
    let warm = churn(options, &epoll, 0..options.clients, false)?;
    let mut outcome = warm;
    if outcome.to_json()["errors"] == 0 {
        say_and_wait("ready")?;
        let numbers = options.clients..options.clients + options.total;
        outcome = churn(options, &epoll, numbers, options.transport.resumes())?;
    }
    say_and_wait(&outcome.to_json().to_string())?;
    Ok(())
}

/// Makes connections of these numbers, as many at a time as there are clients; each has to be resumed, or none.
fn churn(
    options: &Options,
    epoll: &Epoll,
    mut numbers: Range<usize>,
    resumed: bool,
) -> io::Result<Outcome> {
    let mut outcome = Outcome::new();
    let mut attempts: Vec<Option<Attempt>> = (0..options.clients).map(|_| None).collect();
    let mut vacant: Vec<usize> = (0..options.clients).collect();
    let mut events = Events::with_capacity(EVENTS);
    let begin = Instant::now();
    loop {
        while let Some(at) = vacant.pop() {
            let Some(number) = numbers.next() else {
                vacant.push(at);
                break;
            };
            let started = Instant::now();
            let client = Client::start(options, number, epoll, at)?;
            attempts[at] = Some(Attempt { client, number, started, greeted: false });
        }
        if vacant.len() == options.clients {
            break;
        }
        epoll.wait(&mut events, PATIENCE.as_millis() as i32)?;
        if events.is_empty() {
            outcome.failed("no CONNACK");
            break;
        }
        for (token, ready) in events.iter() {
            let at = token as usize;
            let Some(attempt) = &mut attempts[at] else { continue };
            match attempt.advance(options.level, ready) {
                Ok(false) => continue,
                Ok(true) if attempt.client.is_resumed() == resumed => {
                    outcome.done(attempt.started.elapsed());
                }
                Ok(true) if resumed => outcome.failed("a full handshake, not a resumed one"),
                Ok(true) => outcome.failed("a resumed handshake, not a full one"),
                Err(error) => outcome.failed(error),
            }
            if let Some(attempt) = attempts[at].take() {
                attempt.client.close();
            }
            vacant.push(at);
        }
    }
    outcome.elapsed = begin.elapsed();
    Ok(outcome)
}

impl Attempt {
    /// Does what the socket is ready for; tells whether the client is accepted.
    fn advance(&mut self, level: u8, ready: u32) -> io::Result<bool> {
        if !self.greeted {
            if !self.client.open(ready)? {
                return Ok(false);
            }
            self.greeted = true;
            self.client.send(&mqtt::connect(level, &client_id(self.number)))?;
        }
        if ready & (READABLE | HANGUP) == 0 {
            return Ok(false);
        }
        match self.client.receive()? {
            Answer::Whole(answer) if is_accepted(&answer) => Ok(true),
            Answer::Whole(_) => Err(io::Error::other("refused by a CONNACK")),
            Answer::Incomplete => Ok(false),
        }
    }
}
