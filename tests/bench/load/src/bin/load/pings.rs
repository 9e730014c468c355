//! Pings of quiet sessions: one is under way at a time, at a steady pace.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant},
};

use mqtt_lb_bench::{
    mqtt,
    sys::{Epoll, Events, HANGUP, READABLE},
};

use crate::{
    Options,
    clients::{Answer, Client, EVENTS, PATIENCE, open_all},
    flood::Flood,
    result::Outcome,
    say_and_wait,
};

/// From one ping to the next, so that they meet the proxy at any point of its work.
const PACE: Duration = Duration::from_millis(2);

pub fn run(options: &Options) -> io::Result<()> {
    let epoll = Epoll::new()?;
    let mut clients = open_all(options, &epoll)?;
    // Once around, to have every session's memory warm.
    let mut outcome = Outcome::new();
    for client in &mut clients {
        ping(&epoll, client, &mut outcome)?;
    }
    if outcome.to_json()["errors"] == 0 {
        say_and_wait("ready")?;
        outcome = Outcome::new();
        let flood = (options.flood > 0).then(|| Flood::start(options.flood_target, options.flood));
        let begin = Instant::now();
        let mut next = begin;
        for at in (0..clients.len()).cycle() {
            let now = Instant::now();
            if now.duration_since(begin) >= options.seconds {
                break;
            }
            sleep(next.saturating_duration_since(now));
            next += PACE;
            if !ping(&epoll, &mut clients[at], &mut outcome)? {
                break;
            }
        }
        outcome.elapsed = begin.elapsed();
        outcome.flood_rate = flood.map(|flood| flood.rate());
    }
    say_and_wait(&outcome.to_json().to_string())?;
    Ok(())
}

/// One ping and its answer; tells whether it came.
fn ping(epoll: &Epoll, client: &mut Client, outcome: &mut Outcome) -> io::Result<bool> {
    let began = Instant::now();
    client.send(&mqtt::PINGREQ_PACKET)?;
    let mut events = Events::with_capacity(EVENTS);
    loop {
        epoll.wait(&mut events, PATIENCE.as_millis() as i32)?;
        if events.is_empty() {
            outcome.failed("no PINGRESP");
            return Ok(false);
        }
        // Only the client that was served last can have anything to say.
        if !events.iter().any(|(_, ready)| ready & (READABLE | HANGUP) != 0) {
            continue;
        }
        match client.receive()? {
            Answer::Incomplete => {}
            Answer::Whole(answer) if answer.starts_with(&mqtt::PINGRESP) => {
                outcome.done(began.elapsed());
                return Ok(true);
            }
            Answer::Whole(answer) => {
                outcome.failed(format!("{answer:02x?}, not a PINGRESP"));
                return Ok(false);
            }
        }
    }
}
