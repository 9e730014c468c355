//! Why a probe failed.

use std::{error::Error, fmt, io, net::SocketAddr, time::Duration};

use rustix::io::Errno;

use crate::{
    proto::mqtt::{Malformed, Version, reason},
    upstream::dial::DialError,
};

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Likely cause: the broker hangs, or its authentication service does.
    #[error("no CONNACK within {0:?}")]
    NoConnack(Duration),
    /// Likely cause: a broker at its connection limit, or a load balancer without a broker.
    #[error("closed before a CONNACK")]
    Closed,
    #[error("connection lost before a CONNACK: {0}")]
    Reset(#[source] io::Error),
    /// Likely cause: another protocol on that port, or TLS.
    #[error("no CONNACK: {0}")]
    NotConnack(#[from] Malformed),
    #[error("CONNACK code {code} ({}), expected {}", reason::name(Version::V311, *code), AnyOf(expected))]
    Refused { code: u8, expected: Vec<u8> },
    #[error("http checks need an IP address or a host name; this broker has a unix socket")]
    UnixSocket,
    #[error("invalid HTTP request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("no HTTP answer within {0:?}")]
    NoHttp(Duration),
    /// Likely cause: another protocol on that port.
    #[error("no HTTP answer: {}", with_source(.0))]
    Http(#[from] hyper::Error),
    #[error("status {status}, expected {}", AnyOf(expected))]
    Status { status: u16, expected: Vec<u16> },
    /// All addresses of the host failed.
    #[error("{}", EachAddress(.0))]
    AllAddresses(Vec<(SocketAddr, Self)>),
}

impl ProbeError {
    /// Whether the time limit was exceeded.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_timeout(),
            Self::NoConnack(_) | Self::NoHttp(_) => true,
            Self::AllAddresses(errors) => errors.iter().any(|(_, error)| error.is_timeout()),
            _ => false,
        }
    }

    /// Whether the probe did not take place because this host is out of descriptors, memory or
    /// ports.
    pub(crate) fn is_local_shortage(&self) -> bool {
        match self {
            Self::Dial(DialError::NoPort(_)) => true,
            Self::Dial(DialError::Failed(error)) => matches!(
                Errno::from_io_error(error),
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
            ),
            Self::AllAddresses(errors) => errors.iter().any(|(_, error)| error.is_local_shortage()),
            _ => false,
        }
    }
}

/// Shows numbers as "0 or 5".
struct AnyOf<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for AnyOf<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, number) in self.0.iter().enumerate() {
            write!(f, "{}{number}", if n == 0 { "" } else { " or " })?;
        }
        Ok(())
    }
}

/// Shows the error of each address, as "10.0.0.2:1883: closed before a CONNACK; 10.0.0.3:1883: …".
struct EachAddress<'a>(&'a [(SocketAddr, ProbeError)]);

impl fmt::Display for EachAddress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (address, error)) in self.0.iter().enumerate() {
            write!(f, "{}{address}: {error}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// The error with its source, as only the source says how a connection ended.
fn with_source(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
