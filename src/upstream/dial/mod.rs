//! Dialling a broker: connect, and send the client's first bytes.

mod connect;
mod error;
mod race;

pub(super) use connect::connect_from_local;
pub(crate) use error::DialError;

use std::{
    borrow::Cow,
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    broker::{DialTarget, Endpoint, HostAddress, HostAddresses, Lease},
    local_addresses::LocalPort,
};
use crate::{
    config::{self, PoolTls},
    net::{ClientTlsHandshake, Elapsed, Reactor, Socket, Stream, deadline, start_connect_unix},
};
use error::FailedAddress;
use race::{ConnectAttempt, race};

/// The time limit of the first attempt. If its SYN was lost, in the network or at a broker with a
/// full accept queue, the kernel would repeat it only after a second (RFC 6298, section 2). A
/// second attempt is faster, and harmless if the broker is merely far away.
const FIRST_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);

/// The bytes sent to a broker as soon as it is connected.
#[derive(Clone, Copy)]
pub(crate) struct FirstBytes<'a> {
    /// Sent before everything else, even TLS: a PROXY header, or nothing.
    pub header: &'a [u8],
    /// The CONNECT or the ClientHello, and what the client sent after it.
    pub opening: &'a [u8],
}

/// A connection to a broker.
pub(crate) struct DialedBroker {
    pub stream: Stream,
    /// The address that was dialled; `None` for a unix socket.
    pub address: Option<HostAddress>,
}

/// Connects to the endpoint of the leased broker within the pool's `connect_timeout`, TLS included,
/// and sends the first bytes.
///
/// With a single address, the write also shows whether the connection was established, which saves
/// a system call. With several addresses, only the first one that connects is written to.
pub(crate) async fn dial(
    reactor: &Rc<Reactor>,
    pool: &config::Pool,
    lease: &mut Lease,
    endpoint: &Endpoint,
    first_bytes: FirstBytes<'_>,
) -> Result<DialedBroker, DialError> {
    let Some(tls) = &pool.tls else {
        let first = match first_bytes.header {
            [] => Cow::Borrowed(first_bytes.opening),
            header => Cow::Owned([header, first_bytes.opening].concat()),
        };
        return reach(reactor, lease, endpoint, pool.connect_timeout, &first).await;
    };
    // Boxed, so that plain connections need less memory.
    Box::pin(dial_tls(reactor, pool.connect_timeout, lease, endpoint, first_bytes, tls)).await
}

async fn dial_tls(
    reactor: &Rc<Reactor>,
    timeout: Duration,
    lease: &mut Lease,
    endpoint: &Endpoint,
    first_bytes: FirstBytes<'_>,
    tls: &PoolTls,
) -> Result<DialedBroker, DialError> {
    let at = reactor.now() + timeout;
    let name = tls.name_for(&endpoint.address).ok_or(DialError::NoCertificateName)?;
    let connecting = ClientTlsHandshake::new(tls.client.clone(), name)?;
    let first = [first_bytes.header, &connecting.hello()].concat();
    let mut reached = reach(reactor, lease, endpoint, timeout, &first).await?;
    let DialedBroker { stream, address } = &mut reached;
    let finished = async {
        let shaken = deadline(reactor, at, pin!(stream.connect_tls(connecting))).await;
        shaken.map_err(|Elapsed| DialError::NoTls(timeout))??;
        let sent = deadline(reactor, at, pin!(stream.send_all(first_bytes.opening))).await;
        sent.map_err(|Elapsed| DialError::TimedOut(timeout))?.map_err(DialError::Failed)
    };
    match finished.await {
        Ok(()) => Ok(reached),
        Err(error) => Err(failed_at(endpoint, address.as_ref(), error)),
    }
}

/// Connects, with a second attempt if needed, and sends `first`.
async fn reach(
    reactor: &Rc<Reactor>,
    lease: &mut Lease,
    endpoint: &Endpoint,
    timeout: Duration,
    first: &[u8],
) -> Result<DialedBroker, DialError> {
    let target = endpoint.target().ok_or(DialError::Unresolved)?;
    let at = reactor.now() + timeout;
    if let DialTarget::Ip(addresses) = &target
        && addresses.is_several()
    {
        // Boxed, as few brokers have several addresses.
        return Box::pin(reach_one_of(reactor, lease, endpoint, addresses, (timeout, at), first))
            .await;
    }
    let early = reactor.now() + FIRST_ATTEMPT_TIMEOUT.min(timeout);
    let mut stream = attempt(reactor, lease, endpoint, &target, early, at, first).await?;
    if stream.is_none() && reactor.now() < at {
        // The first connection has been closed. Boxed, as few dials need a second attempt.
        stream = Box::pin(attempt(reactor, lease, endpoint, &target, at, at, first)).await?;
    }
    let address = match &target {
        DialTarget::Ip(addresses) => Some(addresses.first().clone()),
        DialTarget::Unix(_) => None,
    };
    stream.map(|stream| DialedBroker { stream, address }).ok_or(DialError::TimedOut(timeout))
}

/// Connects to one of several addresses, and sends `first` only there.
async fn reach_one_of(
    reactor: &Rc<Reactor>,
    lease: &mut Lease,
    endpoint: &Endpoint,
    addresses: &HostAddresses,
    (timeout, at): (Duration, Instant),
    first: &[u8],
) -> Result<DialedBroker, DialError> {
    let ConnectAttempt { address, socket, port } =
        race(reactor, endpoint, addresses, (timeout, at)).await?;
    lease.take_port(port);
    let stream = Stream::new(socket);
    let sent = deadline(reactor, at, pin!(stream.send_all(first))).await;
    let sent = match sent {
        Ok(sent) => sent.map_err(DialError::Failed),
        Err(Elapsed) => Err(DialError::TimedOut(timeout)),
    };
    if let Err(error) = sent {
        return Err(failed_at(endpoint, Some(&address), error));
    }
    endpoint.prefer(*address);
    Ok(DialedBroker { stream, address: Some(address) })
}

/// The error after a connection was established. If the host has other addresses, the next dial
/// begins with another one.
fn failed_at(endpoint: &Endpoint, address: Option<&HostAddress>, error: DialError) -> DialError {
    let is_several = endpoint.addresses().is_some_and(|addresses| addresses.is_several());
    match address {
        Some(address) if is_several => {
            endpoint.avoid(**address);
            DialError::Tried(Box::new([FailedAddress { address: **address, error }]))
        }
        _ => error,
    }
}

/// One attempt; `None` if it is not connected by `until`, or cannot be written to by `at`.
async fn attempt(
    reactor: &Rc<Reactor>,
    lease: &mut Lease,
    endpoint: &Endpoint,
    target: &DialTarget<'_>,
    until: Instant,
    at: Instant,
    first: &[u8],
) -> Result<Option<Stream>, DialError> {
    let socket = match target {
        DialTarget::Unix(path) => start_connect_unix(path)
            .and_then(|fd| Socket::connecting(reactor, fd))
            .map_err(DialError::Failed)?,
        DialTarget::Ip(addresses) => {
            let (fd, source) = connect_from_local(endpoint, **addresses.first(), reactor.now())?;
            lease.take_port(LocalPort::new(source));
            Socket::connecting(reactor, fd).map_err(DialError::Failed)?
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
