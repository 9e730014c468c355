//! What trying one broker can result in.

use std::{sync::Arc, time::Instant};

use crate::{
    config::RetryOn,
    net::Stream,
    proto::mqtt::{Connack, Version},
    session::end::End,
    upstream::{Broker, Lease, Trial},
};

/// The result of trying one broker.
pub(crate) enum AttemptOutcome {
    Answered(BrokerAnswer),
    Failed {
        broker: Arc<Broker>,
        /// `None` if this host is the cause, and not the broker.
        failure: Option<BrokerFailure>,
        end: End,
        /// Whether another broker may be tried.
        retry: bool,
    },
}

/// A broker's CONNACK, which the client has not been sent yet.
pub(crate) struct BrokerAnswer {
    pub(crate) upstream: Stream,
    pub(crate) lease: Lease,
    pub(crate) connack: Connack,
    /// The CONNACK, and what followed it.
    pub(crate) bytes: Vec<u8>,
}

/// How a broker failed a client.
pub(crate) struct BrokerFailure {
    /// When the try began.
    pub(crate) began: Instant,
    pub(crate) kind: FailureKind,
    /// Held until it is known whether another broker takes the client.
    pub(crate) trial: Option<Trial>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// It could not be reached; no client can cause that.
    Unreachable,
    /// It had the CONNECT, and sent nothing for `connack_timeout`.
    Silent,
    /// It had the CONNECT, and closed the connection, sent something else than a CONNACK, or
    /// refused for a reason of its own.
    NoAnswer,
}

/// What a CONNACK's code says of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnackClass {
    /// The broker has decided on this client, for or against it.
    Final,
    Unavailable,
    Busy,
    /// The client has to use another server.
    UseAnother,
}

impl ConnackClass {
    /// By 3.1.1 table 3.1 and 5.0 table 3-1.
    pub(crate) fn of(version: Version, code: u8) -> Self {
        match (version, code) {
            (_, 0x03) | (Version::V5, 0x88) => Self::Unavailable,
            (Version::V5, 0x89 | 0x97 | 0x9F) => Self::Busy,
            (Version::V5, 0x9C | 0x9D) => Self::UseAnother,
            _ => Self::Final,
        }
    }

    /// Whether another broker is tried, under the pool's `retry_on`.
    pub(crate) fn is_retried(self, on: RetryOn) -> bool {
        match self {
            Self::Final => false,
            Self::Unavailable => on.server_unavailable,
            Self::Busy => on.server_busy,
            Self::UseAnother => on.use_another_server,
        }
    }
}
