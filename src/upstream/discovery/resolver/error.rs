//! Why a look-up failed.

use std::time::Duration;

use hickory_resolver::net::{DnsError, NetError};

/// The time limit of one look-up, over all tries and servers.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a look-up has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// Likely: no broker runs there now, or the name is misspelt.
    #[error("there are no such records")]
    Empty,
    /// Likely: the servers are down, or a firewall drops.
    #[error("no answer within {LOOKUP_TIMEOUT:?}")]
    TimedOut,
    /// Likely: the servers cannot reach the authoritative ones, or refuse to answer.
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
