//! How a connection ended: determined once, where it is known, and used by the log and the metrics.

use std::{borrow::Cow, io};

use crate::{
    labels::{EndBy, EndCause, EndPhase},
    net::is_key_used_up,
};

/// Who ended a connection, in which phase, and why.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) by: EndBy,
    pub(crate) phase: EndPhase,
    pub(crate) cause: EndCause,
    /// The cause in detail, for the operator: the fault in a packet, or the system's error.
    pub(crate) detail: Option<Cow<'static, str>>,
}

impl End {
    pub(crate) fn new(by: EndBy, phase: EndPhase, cause: EndCause) -> Self {
        Self { by, phase, cause, detail: None }
    }

    pub(crate) fn with(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Adds how many such ends before this one have no line in the log.
    pub(crate) fn after_unlogged(self, unlogged: u64) -> Self {
        match (unlogged, &self.detail) {
            (0, _) => self,
            (_, Some(detail)) => {
                let detail = format!("{detail}; {unlogged} more were refused without a line");
                self.with(detail)
            }
            (_, None) => self.with(format!("{unlogged} more were refused without a line")),
        }
    }

    /// The end after a read or a write on `by`'s socket failed.
    pub(crate) fn failed(by: EndBy, phase: EndPhase, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::new(by, phase, EndCause::Reset)
            }
            // From TCP: keep-alive, or the user timeout, which also ends a connection whose peer is
            // alive but does not read.
            io::ErrorKind::TimedOut => Self::new(by, phase, EndCause::Timeout)
                .with("the peer acknowledged nothing, or read nothing, for tcp_user_timeout"),
            // The error of a layer for bytes that are not TLS or not a WebSocket frame: the proxy
            // has closed the connection, as after a malformed CONNECT.
            io::ErrorKind::InvalidData => {
                let by = if by == EndBy::Client { EndBy::Proxy } else { by };
                Self::new(by, phase, EndCause::Malformed).with(error.to_string())
            }
            _ if is_key_used_up(error) => Self::new(EndBy::Proxy, phase, EndCause::KeyLimit),
            _ => Self::new(by, phase, EndCause::Error).with(error.to_string()),
        }
    }
}
