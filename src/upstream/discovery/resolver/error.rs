//! Why a lookup failed.

use std::time::Duration;

use hickory_resolver::net::{DnsError, NetError};

/// The time limit of one lookup, over all tries and servers.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a lookup has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// Likely cause: no broker runs there now, or the name is misspelt.
    #[error("there are no such records")]
    Empty,
    /// Likely cause: the servers are down, or a firewall drops the packets.
    #[error("no answer within {LOOKUP_TIMEOUT:?}")]
    TimedOut,
    /// Likely cause: the servers cannot reach the authoritative servers, or refuse to answer.
    #[error("{0}")]
    Failed(String),
}

impl From<NetError> for LookupError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(_)) => Self::Empty,
            NetError::Timeout => Self::TimedOut,
            error => Self::Failed(error.to_string()),
        }
    }
}
