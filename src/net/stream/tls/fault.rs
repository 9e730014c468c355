//! How TLS ends where the peer does not keep to it.

use std::io;

/// What the peer did wrong.
pub(super) enum Fault {
    Tls(rustls::Error),
    /// More than so many bytes of what cannot be used without its rest.
    Held(usize),
}

impl Fault {
    /// As a read or a write fails with it.
    pub(super) fn to_io(&self) -> io::Error {
        match self {
            Self::Tls(error @ rustls::Error::AlertReceived(_)) => {
                io::Error::new(io::ErrorKind::ConnectionAborted, error.clone())
            }
            Self::Tls(error) => io::Error::new(io::ErrorKind::InvalidData, error.clone()),
            Self::Held(most) => io::Error::new(io::ErrorKind::InvalidData, too_much(*most)),
        }
    }
}

pub(super) fn too_much(most: usize) -> String {
    format!("a TLS handshake message that takes more than {most} bytes with its records")
}
