//! Why a broker could not be reached.

use std::{fmt, io, net::SocketAddr, time::Duration};

use super::no_port::NoPort;
use crate::net::TlsError;

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
    /// A host with several addresses; those that were tried.
    #[error("{}", Each(.0))]
    Tried(Box<[Tried]>),
}

/// One address, and why it could not be used.
#[derive(Debug)]
pub struct Tried {
    pub(in crate::upstream) address: SocketAddr,
    pub(in crate::upstream) error: DialError,
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
            Self::Tried(all) => all.iter().all(|tried| tried.error.is_the_brokers()),
        }
    }

    /// Whether it took too long.
    pub fn is_a_timeout(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::NoTls(_) => true,
            Self::Tried(all) => all.iter().any(|tried| tried.error.is_a_timeout()),
            _ => false,
        }
    }

    /// The lack of local ports that was all that kept it from being reached.
    pub fn shortage(&self) -> Option<&NoPort> {
        match self {
            Self::NoPort(shortage) => Some(shortage),
            Self::Tried(all) if all.iter().all(|tried| tried.error.shortage().is_some()) => {
                all.first()?.error.shortage()
            }
            _ => None,
        }
    }
}

/// What became of each address, as "10.0.0.2:1883: no connection within 1s; 10.0.0.3:1883: …".
struct Each<'a>(&'a [Tried]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Tried { address, error }) in self.0.iter().enumerate() {
            write!(f, "{}{address}: {error}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
