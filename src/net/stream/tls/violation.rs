//! Violations of TLS by the peer, which end the connection.

use std::io;

/// What the peer did wrong.
pub(super) enum TlsViolation {
    Tls(rustls::Error),
    /// More than this many bytes of records that cannot be used without their rest.
    TooManyPartialBytes(usize),
}

impl TlsViolation {
    /// The error with which reads and writes fail.
    pub(super) fn to_io(&self) -> io::Error {
        match self {
            Self::Tls(error @ rustls::Error::AlertReceived(_)) => {
                io::Error::new(io::ErrorKind::ConnectionAborted, error.clone())
            }
            Self::Tls(error) => io::Error::new(io::ErrorKind::InvalidData, error.clone()),
            Self::TooManyPartialBytes(limit) => {
                io::Error::new(io::ErrorKind::InvalidData, too_many_partial_bytes(*limit))
            }
        }
    }
}

pub(super) fn too_many_partial_bytes(limit: usize) -> String {
    format!("a TLS handshake message that takes more than {limit} bytes with its records")
}
