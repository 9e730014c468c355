//! Reaching one of a host's addresses (RFC 8305, "Happy Eyeballs").

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    connect::connect,
    error::{DialError, Tried},
    sources::Port,
};
use crate::{
    net::{Elapsed, Reactor, Socket, deadline},
    upstream::broker::{Endpoint, HostAddress, HostAddresses},
};

/// The longest time from one attempt's begin to the next one's: what RFC 8305 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A connection under way; the one that came about first is the winner.
pub(in crate::upstream) struct Attempt {
    pub(in crate::upstream) place: HostAddress,
    pub(in crate::upstream) socket: Socket,
    pub(in crate::upstream) port: Port,
}

/// Connects to the first of several addresses that answers by `at`, which is `timeout` from now, and
/// closes all other attempts. Nothing is sent.
pub(in crate::upstream) async fn race(
    reactor: &Rc<Reactor>,
    endpoint: &Endpoint,
    places: &HostAddresses,
    (timeout, at): (Duration, Instant),
) -> Result<Attempt, DialError> {
    // So that even the last one has some time.
    let delay = ATTEMPT_DELAY.min(timeout / (places.len() as u32 + 1));
    // Each has a second attempt: where a SYN got lost, the kernel would send it again after a second.
    let mut to_start = places.iter().chain(places.iter());
    let mut race = Race { running: Vec::new(), failed: Vec::new() };
    loop {
        let started = race.start_one(reactor, endpoint, &mut to_start);
        if race.running.is_empty() {
            return Err(DialError::Tried(race.failed.into()));
        }
        let until = if started { at.min(reactor.now() + delay) } else { at };
        let ended = deadline(reactor, until, pin!(race.first_to_end())).await;
        match ended {
            Ok(Some(winner)) => return Ok(winner),
            Err(Elapsed) if until >= at => return Err(race.timed_out(places, timeout)),
            Ok(None) | Err(Elapsed) => {}
        }
    }
}

struct Race {
    running: Vec<Attempt>,
    /// Each address once.
    failed: Vec<Tried>,
}

impl Race {
    /// Starts the next attempt that can be started; false if all addresses have been tried.
    fn start_one<'a>(
        &mut self,
        reactor: &Rc<Reactor>,
        endpoint: &Endpoint,
        to_start: &mut impl Iterator<Item = &'a HostAddress>,
    ) -> bool {
        for place in to_start {
            if self.has_failed(place) {
                continue;
            }
            match connect(reactor, endpoint, **place) {
                Ok((socket, port)) => {
                    self.running.push(Attempt { place: place.clone(), socket, port });
                    return true;
                }
                Err(error) => self.fail(place, error),
            }
        }
        false
    }

    /// Waits until one attempt is connected, or has failed, which is noted.
    async fn first_to_end(&mut self) -> Option<Attempt> {
        let (at, outcome) = poll_fn(|cx| {
            let ended = |(at, attempt): (usize, &Attempt)| match attempt.poll_connected(cx) {
                Poll::Ready(outcome) => Some((at, outcome)),
                Poll::Pending => None,
            };
            match self.running.iter().enumerate().find_map(ended) {
                Some(ended) => Poll::Ready(ended),
                None => Poll::Pending,
            }
        })
        .await;
        let attempt = self.running.swap_remove(at);
        match outcome {
            Ok(()) => Some(attempt),
            Err(error) => {
                self.fail(&attempt.place, error);
                None
            }
        }
    }

    fn timed_out(mut self, places: &HostAddresses, timeout: Duration) -> DialError {
        for place in places.iter() {
            self.fail(place, DialError::TimedOut(timeout));
        }
        DialError::Tried(self.failed.into())
    }

    fn fail(&mut self, place: &HostAddress, error: DialError) {
        if !self.has_failed(place) {
            self.failed.push(Tried { address: **place, error });
        }
    }

    fn has_failed(&self, place: &HostAddress) -> bool {
        self.failed.iter().any(|tried| tried.address == **place)
    }
}

impl Attempt {
    /// An empty write: it sends nothing, waits for the connection, and fails as it failed.
    fn poll_connected(&self, cx: &Context<'_>) -> Poll<Result<(), DialError>> {
        self.socket.watch(cx);
        self.socket.try_send(&[]).map(|sent| sent.map(drop).map_err(DialError::Failed))
    }
}
