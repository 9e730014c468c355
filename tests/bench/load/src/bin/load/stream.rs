//! Bulk: every client sends QoS 0 messages as fast as they are taken.

use std::{
    io,
    time::{Duration, Instant},
};

use mqtt_lb_bench::{
    mqtt,
    sys::{EDGE, Epoll, Events, HANGUP, READABLE, WRITABLE},
};

use crate::{
    Options,
    clients::{Answer, EVENTS, PATIENCE, open_all},
    result::Outcome,
    say_and_wait,
};

const TOPIC: &str = "site/7/camera/frame";
/// Long enough for socket buffers and pipes to have grown.
const WARM_UP: Duration = Duration::from_millis(200);

pub fn run(options: &Options) -> io::Result<()> {
    let message = mqtt::publish(options.level, TOPIC, None, options.size);
    // Its PUBACK says that all that was sent before has arrived.
    let barrier = mqtt::publish(options.level, TOPIC, Some(1), 0);

    let epoll = Epoll::new()?;
    let mut clients = open_all(options, &epoll)?;
    let mut stream = |seconds| -> io::Result<Outcome> {
        let mut outcome = Outcome::new();
        let mut offsets = vec![0; clients.len()];
        let mut events = Events::with_capacity(EVENTS);
        for (at, client) in clients.iter().enumerate() {
            epoll.modify(&client.socket, at as u64, READABLE | WRITABLE)?;
        }
        let mut unanswered = clients.len();
        let begin = Instant::now();
        while unanswered > 0 {
            epoll.wait(&mut events, PATIENCE.as_millis() as i32)?;
            if events.is_empty() {
                outcome.failed("the stream stands still");
                break;
            }
            let over = begin.elapsed() >= seconds;
            for (token, ready) in events.iter() {
                let at = token as usize;
                let client = &mut clients[at];
                if ready & HANGUP != 0 {
                    return Err(io::Error::other("closed by the proxy"));
                }
                if ready & READABLE != 0 {
                    match client.receive()? {
                        Answer::Whole([0x40, ..]) => unanswered -= 1,
                        Answer::Whole(_) => return Err(io::Error::other("not a PUBACK")),
                        Answer::Incomplete => {}
                    }
                    continue;
                }
                // Only a socket with nothing held back is sure to have room for a barrier.
                if client.flush()? {
                    continue;
                }
                if over && offsets[at] == 0 {
                    client.send(&barrier)?;
                    epoll.modify(&client.socket, token, READABLE | EDGE)?;
                    continue;
                }
                let written = client.write(&message[offsets[at]..])?;
                outcome.bytes += written as u64;
                offsets[at] += written;
                if offsets[at] == message.len() {
                    offsets[at] = 0;
                    outcome.operations += 1;
                }
            }
        }
        outcome.elapsed = begin.elapsed();
        Ok(outcome)
    };

    stream(WARM_UP)?;
    say_and_wait("ready")?;
    let outcome = stream(options.seconds)?;
    say_and_wait(&outcome.to_json().to_string())?;
    Ok(())
}
