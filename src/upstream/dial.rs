//! Reaching a broker: connect, and hand it the client's first bytes.

use std::{io, pin::pin, rc::Rc, time::Duration};

use super::broker::{Broker, Target};
use crate::transport::{Reactor, Socket, deadline};

/// Why a broker could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Likely: the broker is not running, or a firewall refuses.
    #[error("cannot connect: {0}")]
    Failed(#[source] io::Error),
    /// Likely: the host is down, or a firewall drops.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// Likely: the name is misspelt, or DNS is down; it is looked up again all the while.
    #[error("its host name has not been resolved")]
    Unresolved,
}

impl DialError {
    /// Whether it is the broker, or the way to it, that failed, and not this host, which may be
    /// short of descriptors or ports.
    pub fn is_the_brokers(&self) -> bool {
        use io::ErrorKind as Kind;
        match self {
            Self::TimedOut(_) | Self::Unresolved => true,
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

/// Connects to `broker` within `timeout` and sends `first`, the CONNECT.
///
/// Sending is also what shows whether the connection came about, so no call is spent on asking.
pub async fn dial(
    reactor: &Rc<Reactor>,
    broker: &Broker,
    timeout: Duration,
    first: &[u8],
) -> Result<Socket, DialError> {
    let socket = match broker.target().ok_or(DialError::Unresolved)? {
        Target::Ip(address) => Socket::connect(reactor, address),
        Target::Unix(path) => Socket::connect_unix(reactor, path),
    }
    .map_err(DialError::Failed)?;
    let at = reactor.now() + timeout;
    let sent = deadline(reactor, at, pin!(socket.send_all(first))).await;
    match sent {
        Ok(Ok(())) => Ok(socket),
        Ok(Err(error)) => Err(DialError::Failed(error)),
        Err(_) => Err(DialError::TimedOut(timeout)),
    }
}
