//! Sessions that do nothing, so that the proxy's memory can be read.

use std::{io, time::Instant};

use mqtt_lb_bench::sys::Epoll;

use crate::{Options, clients::open_all, result::Outcome, say_and_wait};

pub fn run(options: &Options) -> io::Result<()> {
    let epoll = Epoll::new()?;
    while say_and_wait("ready")? {
        let mut outcome = Outcome::new();
        let begin = Instant::now();
        let clients = open_all(options, &epoll)?;
        outcome.elapsed = begin.elapsed();
        outcome.operations = clients.len() as u64;
        say_and_wait(&outcome.to_json().to_string())?;
    }
    Ok(())
}
