//! Reaching a broker: connect, and hand it the client's first bytes.

mod connect;
mod error;
mod no_port;
mod race;
mod sources;

pub use error::DialError;
pub use no_port::NoPort;
pub(in crate::upstream) use sources::{Port, Sources};

use std::{
    borrow::Cow,
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use super::broker::{Endpoint, HostAddress, HostAddresses, Lease, Target};
use crate::{
    config::{self, PoolTls},
    net::{ClientTlsHandshake, Elapsed, Reactor, Socket, Stream, deadline},
};
use connect::connect;
use error::Tried;
use race::{Attempt, race};

/// How long the first attempt is waited for. A SYN that got lost, in the network or before a broker
/// whose accept queue was full for a moment, would be sent again by the kernel after a second
/// (RFC 6298, section 2); a second attempt is sooner there, and costs nothing where one is far away.
const FIRST_ATTEMPT: Duration = Duration::from_millis(250);

/// What a broker is sent as soon as it is reached.
#[derive(Clone, Copy)]
pub struct FirstBytes<'a> {
    /// Comes before everything else, TLS included: a PROXY header, or nothing.
    pub header: &'a [u8],
    /// The CONNECT, and what the client sent behind it.
    pub connect: &'a [u8],
}

/// A broker that was reached.
pub struct Reached {
    pub stream: Stream,
    /// The address that it was reached at; `None` for a unix socket.
    pub place: Option<HostAddress>,
}

/// Connects to the leased broker's endpoint within the pool's `connect_timeout`, TLS included, and
/// sends what it is to have first.
///
/// Where there is one address, sending is also what shows whether the connection came about, so no
/// call is spent on asking. Of several, the first that is connected is sent anything.
pub async fn dial(
    reactor: &Rc<Reactor>,
    pool: &config::Pool,
    lease: &mut Lease,
    endpoint: &Endpoint,
    opening: FirstBytes<'_>,
) -> Result<Reached, DialError> {
    let Some(tls) = &pool.tls else {
        let first = match opening.header {
            [] => Cow::Borrowed(opening.connect),
            header => Cow::Owned([header, opening.connect].concat()),
        };
        return reach(reactor, lease, endpoint, pool.connect_timeout, &first).await;
    };
    // Boxed, as plain dials have no use for the room.
    Box::pin(dial_tls(reactor, pool.connect_timeout, lease, endpoint, opening, tls)).await
}

async fn dial_tls(
    reactor: &Rc<Reactor>,
    timeout: Duration,
    lease: &mut Lease,
    endpoint: &Endpoint,
    opening: FirstBytes<'_>,
    tls: &PoolTls,
) -> Result<Reached, DialError> {
    let at = reactor.now() + timeout;
    let name = tls.name_for(&endpoint.address).ok_or(DialError::Nameless)?;
    let connecting = ClientTlsHandshake::new(tls.client.clone(), name)?;
    let first = [opening.header, &connecting.hello()].concat();
    let mut reached = reach(reactor, lease, endpoint, timeout, &first).await?;
    let Reached { stream, place } = &mut reached;
    let finished = async {
        let shaken = deadline(reactor, at, pin!(stream.connect_tls(connecting))).await;
        shaken.map_err(|Elapsed| DialError::NoTls(timeout))??;
        let sent = deadline(reactor, at, pin!(stream.send_all(opening.connect))).await;
        sent.map_err(|Elapsed| DialError::TimedOut(timeout))?.map_err(DialError::Failed)
    };
    match finished.await {
        Ok(()) => Ok(reached),
        Err(error) => Err(failed_at(endpoint, place.as_ref(), error)),
    }
}

/// Connects, in a second attempt if need be, and sends `first`.
async fn reach(
    reactor: &Rc<Reactor>,
    lease: &mut Lease,
    endpoint: &Endpoint,
    timeout: Duration,
    first: &[u8],
) -> Result<Reached, DialError> {
    let target = endpoint.target().ok_or(DialError::Unresolved)?;
    let at = reactor.now() + timeout;
    if let Target::Ip(places) = &target
        && places.is_several()
    {
        // Boxed, as few brokers have several addresses.
        return Box::pin(reach_one_of(reactor, lease, endpoint, places, (timeout, at), first))
            .await;
    }
    let early = reactor.now() + FIRST_ATTEMPT.min(timeout);
    let mut stream = attempt(reactor, lease, endpoint, &target, early, at, first).await?;
    if stream.is_none() && reactor.now() < at {
        // The first has been closed. Boxed, as few dials need the room for a second.
        stream = Box::pin(attempt(reactor, lease, endpoint, &target, at, at, first)).await?;
    }
    let place = match &target {
        Target::Ip(places) => Some(places.first().clone()),
        Target::Unix(_) => None,
    };
    stream.map(|stream| Reached { stream, place }).ok_or(DialError::TimedOut(timeout))
}

/// Connects to one of several addresses, and sends `first` there alone.
async fn reach_one_of(
    reactor: &Rc<Reactor>,
    lease: &mut Lease,
    endpoint: &Endpoint,
    places: &HostAddresses,
    (timeout, at): (Duration, Instant),
    first: &[u8],
) -> Result<Reached, DialError> {
    let Attempt { place, socket, port } = race(reactor, endpoint, places, (timeout, at)).await?;
    lease.take_port(port);
    let stream = Stream::new(socket);
    let sent = deadline(reactor, at, pin!(stream.send_all(first))).await;
    let sent = match sent {
        Ok(sent) => sent.map_err(DialError::Failed),
        Err(Elapsed) => Err(DialError::TimedOut(timeout)),
    };
    if let Err(error) = sent {
        return Err(failed_at(endpoint, Some(&place), error));
    }
    endpoint.prefer(*place);
    Ok(Reached { stream, place: Some(place) })
}

/// What happened after the connection had come about. Where the host has other addresses, the next
/// dial begins with one of those.
fn failed_at(endpoint: &Endpoint, place: Option<&HostAddress>, error: DialError) -> DialError {
    let is_several = endpoint.places().is_some_and(|places| places.is_several());
    match place {
        Some(place) if is_several => {
            endpoint.avoid(**place);
            DialError::Tried(Box::new([Tried { address: **place, error }]))
        }
        _ => error,
    }
}

/// One connection: `None` if it has not come about by `until`, or could not be written to by `at`.
async fn attempt(
    reactor: &Rc<Reactor>,
    lease: &mut Lease,
    endpoint: &Endpoint,
    target: &Target<'_>,
    until: Instant,
    at: Instant,
    first: &[u8],
) -> Result<Option<Stream>, DialError> {
    let socket = match target {
        Target::Unix(path) => Socket::connect_unix(reactor, path).map_err(DialError::Failed)?,
        Target::Ip(places) => {
            let (socket, port) = connect(reactor, endpoint, **places.first())?;
            lease.take_port(port);
            socket
        }
    };
    let stream = Stream::new(socket);
    let sent = {
        let mut sending = pin!(stream.send_all(first));
        match deadline(reactor, until, sending.as_mut()).await {
            Err(Elapsed) if until < at && stream.socket().is_connected() => {
                deadline(reactor, at, sending).await
            }
            sent => sent,
        }
    };
    match sent {
        Ok(Ok(())) => Ok(Some(stream)),
        Ok(Err(error)) => Err(DialError::Failed(error)),
        Err(Elapsed) => Ok(None),
    }
}
