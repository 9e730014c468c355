//! Why a TLS handshake failed, explained for an operator.

use std::io;

use rustls::Error;

use super::violation::{TlsViolation, too_many_partial_bytes};
use crate::{
    proto::first_bytes::{DetectedProtocol, Detection, detect_protocol},
    tls::describe,
};

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The client closed the connection before it sent anything. Likely: a health check that only
    /// connects.
    #[error("nothing was sent")]
    Silent(#[source] Option<io::Error>),
    /// Likely: a client that gave up.
    #[error("the TLS handshake was not finished")]
    Closed,
    #[error("{0}")]
    Io(#[source] io::Error),
    /// Likely: the peer does not trust our certificate, or has nothing in common with our
    /// configuration.
    #[error("the other side ended the TLS handshake with the alert {0:?}")]
    Alert(rustls::AlertDescription),
    /// The peer's certificate was not accepted.
    #[error("TLS: {}", describe(.0))]
    Certificate(#[source] Error),
    /// Likely: a peer without TLS, or an unsupported version.
    #[error("TLS: {error}{hint}")]
    Protocol {
        #[source]
        error: Error,
        hint: &'static str,
    },
    /// Likely: an attack, as no library splits its messages into so many records.
    #[error("{}", too_many_partial_bytes(*.0))]
    TooManyPartialBytes(usize),
}

impl TlsError {
    /// `first`: the first bytes of the peer.
    pub(super) fn new(error: Error, first: &[u8]) -> Self {
        match error {
            Error::AlertReceived(alert) => Self::Alert(alert),
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => {
                Self::Certificate(error)
            }
            error @ Error::PeerIncompatible(_) => {
                let hint = "; it offers no version of TLS from min_version to max_version, or no \
                            cipher or key exchange of those";
                Self::Protocol { error, hint }
            }
            error => Self::Protocol { error, hint: hint(first) },
        }
    }
}

/// What ended a handshake, before the peer's first bytes are used to explain it.
pub(super) enum HandshakeFailure {
    Closed,
    Io(io::Error),
    Violation(TlsViolation),
}

impl HandshakeFailure {
    /// `first`: the first bytes of the peer.
    pub(super) fn explain(self, first: &[u8]) -> TlsError {
        match self {
            Self::Closed => TlsError::Closed,
            Self::Io(error) => TlsError::Io(error),
            Self::Violation(TlsViolation::Tls(error)) => TlsError::new(error, first),
            Self::Violation(TlsViolation::TooManyPartialBytes(limit)) => {
                TlsError::TooManyPartialBytes(limit)
            }
        }
    }
}

impl From<io::Error> for HandshakeFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The protocol that a client without TLS used on this port.
fn hint(first: &[u8]) -> &'static str {
    match detect_protocol(first) {
        Detection::Protocol(DetectedProtocol::Mqtt) => {
            "; it began with a CONNECT: plain MQTT belongs to a listener without tls"
        }
        Detection::Protocol(DetectedProtocol::Http) => {
            "; it began with an HTTP request in the clear"
        }
        Detection::Protocol(DetectedProtocol::ProxyHeader) => {
            "; it began with a PROXY header: this listener needs accept_proxy_protocol to take one"
        }
        _ => "",
    }
}
