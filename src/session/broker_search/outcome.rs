//! The possible outcomes of an attempt at one broker.

use std::{sync::Arc, time::Instant};

use super::opening::Opening;
use crate::{
    config::RetryOn,
    net::Stream,
    proto::mqtt::{Connack, Version},
    session::end::End,
    upstream::{Broker, Lease, Trial},
};

/// The outcome of an attempt at one broker.
pub(crate) enum AttemptOutcome {
    Answered(BrokerAnswer),
    Failed {
        broker: Arc<Broker>,
        /// `None` if this host is at fault, not the broker.
        failure: Option<BrokerFailure>,
        end: End,
        /// Whether another broker may be tried.
        retry: bool,
    },
}

/// A broker's connection, and its CONNACK, which has not been sent to the client yet.
pub(crate) struct BrokerAnswer {
    pub(crate) upstream: Stream,
    pub(crate) lease: Lease,
    /// `None` if the broker was sent a ClientHello: it has taken the connection.
    pub(crate) connack: Option<Connack>,
    /// The CONNACK and what followed it.
    pub(crate) bytes: Vec<u8>,
}

impl BrokerAnswer {
    /// Whether the broker has accepted the client.
    pub(crate) fn is_accepted(&self) -> bool {
        self.connack.as_ref().is_none_or(|connack| connack.code == 0)
    }

    /// What the answer says about the broker.
    pub(super) fn class(&self, opening: Opening<'_>) -> ConnackClass {
        match (opening, &self.connack) {
            (Opening::Connect(connect), Some(connack)) => {
                ConnackClass::of(connect.version, connack.code)
            }
            _ => ConnackClass::Final,
        }
    }
}

/// How a broker failed a client.
pub(crate) struct BrokerFailure {
    /// When the attempt began.
    pub(crate) began: Instant,
    pub(crate) kind: FailureKind,
    /// Held until it is known whether another broker takes the client.
    pub(crate) trial: Option<Trial>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The broker could not be reached; no client can cause that.
    Unreachable,
    /// The broker received the CONNECT and sent nothing for `connack_timeout`.
    Silent,
    /// The broker received the CONNECT, and then closed the connection, sent something other than a
    /// CONNACK, or refused for a reason of its own.
    NoAnswer,
}

/// What the code of a CONNACK says about the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnackClass {
    /// The broker has decided on this client, for or against it.
    Final,
    Unavailable,
    Busy,
    /// The client should use another server.
    UseAnother,
}

impl ConnackClass {
    /// Classifies a code by 3.1.1 table 3.1 or 5.0 table 3-1.
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
