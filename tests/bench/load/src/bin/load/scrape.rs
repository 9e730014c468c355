//! Requests to the admin listener: all clients ask at once, again and again.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    thread::sleep,
    time::{Duration, Instant},
};

use mqtt_lb_bench::sys::{self, Epoll, Events, HANGUP, READABLE, WRITABLE};

use crate::{
    Options,
    clients::{EVENTS, PATIENCE},
    result::Outcome,
    say_and_wait,
};

/// Between two rounds, so that each meets a listener that has nothing else to do.
const PAUSE: Duration = Duration::from_millis(200);

/// One client's connection, and the answer that it waits for.
struct Scraper {
    socket: OwnedFd,
    began: Instant,
    asked: bool,
    answer: Vec<u8>,
    done: bool,
}

/// Each round has a connection for each client. With `fresh` it is opened in the round, and counts.
pub fn run(options: &Options) -> io::Result<()> {
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", options.path);
    let epoll = Epoll::new()?;
    let mut outcome = Outcome::new();
    // Once around, to have all warm.
    let mut scrapers = open(options, &epoll)?;
    round(&epoll, &mut scrapers, request.as_bytes(), &mut outcome)?;
    say_and_wait("ready")?;
    outcome = Outcome::new();
    let begin = Instant::now();
    for _ in 0..options.total.div_ceil(options.clients.max(1)) {
        sleep(PAUSE);
        if options.fresh {
            scrapers.clear();
            scrapers = open(options, &epoll)?;
        }
        for scraper in &mut scrapers {
            scraper.renew(request.as_bytes())?;
        }
        round(&epoll, &mut scrapers, request.as_bytes(), &mut outcome)?;
    }
    outcome.elapsed = begin.elapsed();
    say_and_wait(&outcome.to_json().to_string())?;
    Ok(())
}

fn open(options: &Options, epoll: &Epoll) -> io::Result<Vec<Scraper>> {
    (0..options.clients)
        .map(|at| {
            let began = Instant::now();
            let socket = sys::connect(options.target, None)?;
            epoll.add(&socket, at as u64, READABLE | WRITABLE)?;
            Ok(Scraper { socket, began, asked: false, answer: Vec::new(), done: false })
        })
        .collect()
}

/// Until all have their answers.
fn round(
    epoll: &Epoll,
    scrapers: &mut [Scraper],
    request: &[u8],
    outcome: &mut Outcome,
) -> io::Result<()> {
    let mut missing = scrapers.iter().filter(|scraper| !scraper.done).count();
    let mut events = Events::with_capacity(EVENTS);
    let mut buffer = vec![0; 256 * 1024];
    while missing > 0 {
        epoll.wait(&mut events, PATIENCE.as_millis() as i32)?;
        if events.is_empty() {
            outcome.failed(format!("{missing} scrapers got no answer"));
            return Ok(());
        }
        for (token, ready) in events.iter() {
            let scraper = &mut scrapers[token as usize];
            if !scraper.asked && ready & (WRITABLE | HANGUP) != 0 {
                scraper.ask(request)?;
                epoll.modify(&scraper.socket, token, READABLE)?;
            }
            if scraper.done || ready & (READABLE | HANGUP) == 0 {
                continue;
            }
            match scraper.receive(&mut buffer) {
                Ok(false) => continue,
                Ok(true) => {
                    outcome.bytes += scraper.answer.len() as u64;
                    outcome.done(scraper.began.elapsed());
                }
                Err(error) => outcome.failed(error),
            }
            scraper.done = true;
            missing -= 1;
        }
    }
    Ok(())
}

impl Scraper {
    /// Asks again where it is connected already; where it is not, it asks once it is.
    fn renew(&mut self, request: &[u8]) -> io::Result<()> {
        if self.asked {
            (self.done, self.began) = (false, Instant::now());
            self.answer.clear();
            self.ask(request)?;
        }
        Ok(())
    }

    fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        self.asked = true;
        match sys::write(&self.socket, request)? {
            Some(count) if count == request.len() => Ok(()),
            _ => Err(io::Error::other("no room for a request")),
        }
    }

    /// Whether the whole answer is there, which has to be a 200.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        while let Some(count) = sys::read(&self.socket, buffer)? {
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.answer.extend_from_slice(&buffer[..count]);
            if let Some(length) = length_of(&self.answer)? {
                if self.answer.len() == length {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The length of an answer, once its head is there.
fn length_of(answer: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&answer[..head]);
    let mut lines = text.lines();
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(status));
    }
    let length = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.ok_or_else(|| io::Error::other("an answer without its length"))?;
    Ok(Some(head + 4 + length))
}
