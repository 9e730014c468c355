//! How many records the keys of a TLS 1.2 connection have encrypted, of how many they may.

use std::{error::Error, fmt, io};

/// The records of a connection whose keys have a limit and cannot be replaced.
///
/// The confidentiality of AES-GCM gets weaker with each record that one key encrypts; rustls stops
/// at 2^24 (`CipherSuiteCommon::confidentiality_limit`). TLS 1.3 replaces its keys in time (RFC
/// 8446, section 5.5), TLS 1.2 cannot. ChaCha20-Poly1305 has no such limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUse {
    /// Records sent, with our key.
    pub(crate) sent: u64,
    /// Records received, with the peer's key. Some peers stop at the limit, as rustls does.
    pub(crate) received: u64,
    /// How many records one key may encrypt.
    pub(crate) limit: u64,
}

impl KeyUse {
    /// The last records of our key, one in 64: enough for what ends the connection.
    const RESERVE_DIVISOR: u64 = 64;

    /// The records of the key that has encrypted more.
    pub(crate) fn records(self) -> u64 {
        self.sent.max(self.received)
    }

    /// Whether our key may encrypt only what ends the connection.
    pub(super) fn is_used_up(self) -> bool {
        self.sent >= self.limit - self.limit / Self::RESERVE_DIVISOR
    }
}

/// No more data can be sent, because our key is used up.
#[derive(Debug)]
pub(super) struct KeyUsedUp;

impl fmt::Display for KeyUsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the TLS 1.2 key has encrypted as many records as it may")
    }
}

impl Error for KeyUsedUp {}

/// Whether a write failed because our key is used up.
pub(crate) fn is_key_used_up(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<KeyUsedUp>())
}
