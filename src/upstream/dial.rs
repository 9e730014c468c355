//! Reaching a broker: connect, and hand it the client's first bytes.

use std::{
    borrow::Cow,
    io,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    broker::{Endpoint, Lease, Target},
    no_port::NoPort,
    sources::Source,
};
use crate::{
    config::{self, PoolTls},
    transport::{ConnectError, Connecting, Elapsed, Reactor, Socket, Stream, TlsError, deadline},
};

/// Why a broker could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Likely: the broker is not running, or a firewall refuses.
    #[error("cannot connect: {0}")]
    Failed(#[source] io::Error),
    /// Likely: the host is down, or a firewall drops.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// This host has too many connections to that broker, or too few addresses.
    #[error(transparent)]
    NoPort(Box<NoPort>),
    /// Likely: the name is misspelt, or DNS is down; it is looked up again all the while.
    #[error("its host name has not been resolved")]
    Unresolved,
    /// Likely: the broker speaks no TLS at that port, or is overloaded.
    #[error("no TLS handshake within {0:?}")]
    NoTls(Duration),
    /// Likely: a certificate of another name or CA, or no TLS at that port.
    #[error("cannot connect: {0}")]
    Tls(#[from] TlsError),
    #[error("its host name cannot be the name in a certificate; set tls.server_name")]
    Nameless,
}

impl DialError {
    /// Whether it is the broker, or the way to it, that failed, and not this host, which may be
    /// short of descriptors or ports.
    pub fn is_the_brokers(&self) -> bool {
        use io::ErrorKind as Kind;
        match self {
            Self::TimedOut(_) | Self::Unresolved | Self::NoTls(_) | Self::Tls(_) => true,
            Self::NoPort(_) | Self::Nameless => false,
            Self::Failed(error) => matches!(
                error.kind(),
                Kind::ConnectionRefused
                    | Kind::ConnectionReset
                    | Kind::BrokenPipe
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::TimedOut
                    | Kind::NotFound
                    // A unix socket whose queue is full.
                    | Kind::WouldBlock
            ),
        }
    }
}

/// How long the first attempt is waited for. A SYN that got lost, in the network or before a broker
/// whose accept queue was full for a moment, would be sent again by the kernel after a second
/// (RFC 6298, section 2); a second attempt is sooner there, and costs nothing where one is far away.
const FIRST_ATTEMPT: Duration = Duration::from_millis(250);

/// What a broker is sent as soon as it is reached.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Comes before everything else, TLS included: a PROXY header, or nothing.
    pub header: &'a [u8],
    /// The CONNECT, and what the client sent behind it.
    pub connect: &'a [u8],
}

/// Connects to the leased broker's endpoint within the pool's `connect_timeout`, TLS included, and
/// sends what it is to have first.
///
/// Sending is also what shows whether the connection came about, so no call is spent on asking.
pub async fn dial(
    reactor: &Rc<Reactor>,
    pool: &config::Pool,
    lease: &mut Lease,
    endpoint: &Endpoint,
    opening: Opening<'_>,
) -> Result<Stream, DialError> {
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
    opening: Opening<'_>,
    tls: &PoolTls,
) -> Result<Stream, DialError> {
    let at = reactor.now() + timeout;
    let name = tls.name_for(&endpoint.address).ok_or(DialError::Nameless)?;
    let connecting = Connecting::new(tls.client.clone(), name)?;
    let first = [opening.header, &connecting.hello()].concat();
    let mut stream = reach(reactor, lease, endpoint, timeout, &first).await?;
    let shaken = deadline(reactor, at, pin!(stream.connect_tls(connecting))).await;
    shaken.map_err(|Elapsed| DialError::NoTls(timeout))??;
    let sent = deadline(reactor, at, pin!(stream.send_all(opening.connect))).await;
    sent.map_err(|Elapsed| DialError::TimedOut(timeout))?.map_err(DialError::Failed)?;
    Ok(stream)
}

/// Connects, in a second attempt if need be, and sends `first`.
async fn reach(
    reactor: &Rc<Reactor>,
    lease: &mut Lease,
    endpoint: &Endpoint,
    timeout: Duration,
    first: &[u8],
) -> Result<Stream, DialError> {
    let at = reactor.now() + timeout;
    let early = reactor.now() + FIRST_ATTEMPT.min(timeout);
    if let Some(stream) = attempt(reactor, lease, endpoint, early, at, first).await? {
        return Ok(stream);
    }
    if reactor.now() >= at {
        return Err(DialError::TimedOut(timeout));
    }
    // The first has been closed. Boxed, as few dials need the room for a second.
    let again = Box::pin(attempt(reactor, lease, endpoint, at, at, first)).await?;
    again.ok_or(DialError::TimedOut(timeout))
}

/// One connection: `None` if it has not come about by `until`, or could not be written to by `at`.
async fn attempt(
    reactor: &Rc<Reactor>,
    lease: &mut Lease,
    endpoint: &Endpoint,
    until: Instant,
    at: Instant,
    first: &[u8],
) -> Result<Option<Stream>, DialError> {
    let socket = match endpoint.target().ok_or(DialError::Unresolved)? {
        Target::Unix(path) => Socket::connect_unix(reactor, path).map_err(DialError::Failed)?,
        Target::Ip(address) => {
            let (socket, source) = connect(reactor, endpoint, address)?;
            lease.take_port(&source);
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

/// Starts connecting from the first of the broker's local addresses that has a port left.
fn connect(
    reactor: &Rc<Reactor>,
    endpoint: &Endpoint,
    to: SocketAddr,
) -> Result<(Socket, Arc<Source>), DialError> {
    let (sources, now) = (&endpoint.sources, reactor.now());
    for source in sources.in_turn(to).filter(|source| sources.may_have_ports(source, now)) {
        match Socket::connect(reactor, source.address, to) {
            Ok(socket) => return Ok((socket, source.clone())),
            Err(ConnectError::NoPort) => sources.set_full(source, now),
            Err(error) => source.pass_over(error)?,
        }
    }
    Err(sources.exhausted(to))
}
