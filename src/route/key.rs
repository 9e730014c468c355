//! What of a client is hashed.

/// What becomes of a client that gave no client ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyClientId {
    LeastConnections,
    Username,
    SourceIp,
    Reject,
}

/// A parsed `balance.key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate;
