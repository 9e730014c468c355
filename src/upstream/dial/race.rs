//! Connecting to one of a host's addresses (RFC 8305, "Happy Eyeballs").

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    connect::connect_from_local,
    error::{DialError, FailedAddress},
};
use crate::{
    net::{Elapsed, Reactor, Socket, deadline},
    upstream::{
        broker::{Endpoint, HostAddress, HostAddresses},
        local_addresses::LocalPort,
    },
};

/// The longest time between the starts of two attempts, as RFC 8305 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A connection attempt in progress; the first to succeed wins.
pub(crate) struct ConnectAttempt {
    pub(crate) address: HostAddress,
    pub(crate) socket: Socket,
    pub(crate) port: LocalPort,
}

/// Connects to the first of several addresses that answers by `at`, which is `timeout` from now,
/// and closes all other attempts. Sends nothing.
pub(crate) async fn race(
    reactor: &Rc<Reactor>,
    endpoint: &Endpoint,
    addresses: &HostAddresses,
    (timeout, at): (Duration, Instant),
) -> Result<ConnectAttempt, DialError> {
    // The last address needs some time too.
    let delay = ATTEMPT_DELAY.min(timeout / (addresses.len() as u32 + 1));
    // Each address gets a second attempt: if a SYN was lost, the kernel would repeat it only after
    // a second.
    let mut to_start = addresses.iter().chain(addresses.iter());
    let mut race = AddressRace { running: Vec::new(), failed: Vec::new() };
    loop {
        let started = race.start_one(reactor, endpoint, &mut to_start);
        if race.running.is_empty() {
            return Err(DialError::Tried(race.failed.into()));
        }
        let until = if started { at.min(reactor.now() + delay) } else { at };
        let ended = deadline(reactor, until, pin!(race.first_to_end())).await;
        match ended {
            Ok(Some(winner)) => return Ok(winner),
            Err(Elapsed) if until >= at => return Err(race.timed_out(addresses, timeout)),
            Ok(None) | Err(Elapsed) => {}
        }
    }
}

struct AddressRace {
    running: Vec<ConnectAttempt>,
    /// Each address at most once.
    failed: Vec<FailedAddress>,
}

impl AddressRace {
    /// Starts the next attempt; false if all addresses have been tried.
    fn start_one<'a>(
        &mut self,
        reactor: &Rc<Reactor>,
        endpoint: &Endpoint,
        to_start: &mut impl Iterator<Item = &'a HostAddress>,
    ) -> bool {
        for address in to_start {
            if self.has_failed(address) {
                continue;
            }
            match start(reactor, endpoint, **address) {
                Ok((socket, port)) => {
                    self.running.push(ConnectAttempt { address: address.clone(), socket, port });
                    return true;
                }
                Err(error) => self.fail(address, error),
            }
        }
        false
    }

    /// Waits until one attempt has connected or failed; records a failure.
    async fn first_to_end(&mut self) -> Option<ConnectAttempt> {
        let (at, outcome) = poll_fn(|cx| {
            let ended = |(at, attempt): (usize, &ConnectAttempt)| match attempt.poll_connected(cx) {
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
                self.fail(&attempt.address, error);
                None
            }
        }
    }

    fn timed_out(mut self, addresses: &HostAddresses, timeout: Duration) -> DialError {
        for address in addresses.iter() {
            self.fail(address, DialError::TimedOut(timeout));
        }
        DialError::Tried(self.failed.into())
    }

    fn fail(&mut self, address: &HostAddress, error: DialError) {
        if !self.has_failed(address) {
            self.failed.push(FailedAddress { address: **address, error });
        }
    }

    fn has_failed(&self, address: &HostAddress) -> bool {
        self.failed.iter().any(|tried| tried.address == **address)
    }
}

fn start(
    reactor: &Rc<Reactor>,
    endpoint: &Endpoint,
    to: SocketAddr,
) -> Result<(Socket, LocalPort), DialError> {
    let (fd, source) = connect_from_local(endpoint, to, reactor.now())?;
    let socket = Socket::connecting(reactor, fd).map_err(DialError::Failed)?;
    Ok((socket, LocalPort::new(source)))
}

impl ConnectAttempt {
    /// An empty write sends nothing, but waits for the connection and returns its error.
    fn poll_connected(&self, cx: &Context<'_>) -> Poll<Result<(), DialError>> {
        self.socket.watch(cx);
        self.socket.try_send(&[]).map(|sent| sent.map(drop).map_err(DialError::Failed))
    }
}
