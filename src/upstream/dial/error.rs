//! Why a broker could not be reached.

use std::{fmt, io, net::SocketAddr, time::Duration};

use crate::{net::TlsError, upstream::no_port::NoPort};

/// Why a broker could not be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Likely cause: the broker is not running, or a firewall rejects the connection.
    #[error("cannot connect: {0}")]
    Failed(#[source] io::Error),
    /// Likely cause: the host is down, or a firewall drops the packets.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// This host has too many connections to that broker, or too few addresses.
    #[error(transparent)]
    NoPort(Box<NoPort>),
    /// Likely cause: the name is misspelt, or DNS is down; lookups continue.
    #[error("its host name has not been resolved")]
    Unresolved,
    /// Likely cause: the broker does not speak TLS on that port, or is overloaded.
    #[error("no TLS handshake within {0:?}")]
    NoTls(Duration),
    /// Likely cause: a certificate for another name or from another CA, or no TLS on that port.
    #[error("cannot connect: {0}")]
    Tls(#[from] TlsError),
    #[error("its host name is not valid in a certificate; set tls.server_name")]
    NoCertificateName,
    /// A host with several addresses: the error of each address that was tried.
    #[error("{}", TriedAddresses(.0))]
    Tried(Box<[FailedAddress]>),
}

/// One address of a host, and why it could not be reached.
#[derive(Debug)]
pub(crate) struct FailedAddress {
    pub(crate) address: SocketAddr,
    pub(crate) error: DialError,
}

impl DialError {
    /// Whether the broker or the network is at fault, not this host, which may be out of
    /// descriptors or ports.
    pub(crate) fn is_broker_fault(&self) -> bool {
        use io::ErrorKind as Kind;
        match self {
            Self::TimedOut(_) | Self::Unresolved | Self::NoTls(_) | Self::Tls(_) => true,
            Self::NoPort(_) | Self::NoCertificateName => false,
            Self::Failed(error) => matches!(
                error.kind(),
                Kind::ConnectionRefused
                    | Kind::ConnectionReset
                    | Kind::BrokenPipe
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::TimedOut
                    | Kind::NotFound
                    // A unix socket with a full accept queue.
                    | Kind::WouldBlock
            ),
            Self::Tried(all) => all.iter().all(|tried| tried.error.is_broker_fault()),
        }
    }

    /// Whether a time limit was exceeded.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::NoTls(_) => true,
            Self::Tried(all) => all.iter().any(|tried| tried.error.is_timeout()),
            _ => false,
        }
    }

    /// The shortage of local ports, if that alone kept the broker from being reached.
    pub(crate) fn no_port(&self) -> Option<&NoPort> {
        match self {
            Self::NoPort(shortage) => Some(shortage),
            Self::Tried(all) if all.iter().all(|tried| tried.error.no_port().is_some()) => {
                all.first()?.error.no_port()
            }
            _ => None,
        }
    }
}

/// The error of each address, as "10.0.0.2:1883: no connection within 1s; 10.0.0.3:1883: …".
struct TriedAddresses<'a>(&'a [FailedAddress]);

impl fmt::Display for TriedAddresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, FailedAddress { address, error }) in self.0.iter().enumerate() {
            write!(f, "{}{address}: {error}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
