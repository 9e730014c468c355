//! How a connection ended: said once, where it is known, and recorded from there.

use std::{borrow::Cow, io};

use crate::labels::{EndBy, EndCause, EndPhase};

/// Who ended a connection, in which phase, and why.
#[derive(Clone, Debug)]
pub(in crate::session) struct End {
    pub(in crate::session) by: EndBy,
    pub(in crate::session) phase: EndPhase,
    pub(in crate::session) cause: EndCause,
    /// What an operator would ask next: the fault in a packet, the system's error.
    pub(in crate::session) detail: Option<Cow<'static, str>>,
}

impl End {
    pub(in crate::session) fn new(by: EndBy, phase: EndPhase, cause: EndCause) -> Self {
        Self { by, phase, cause, detail: None }
    }

    pub(in crate::session) fn with(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// A read or write on `by`'s socket failed.
    pub(in crate::session) fn failed(by: EndBy, phase: EndPhase, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::new(by, phase, EndCause::Reset)
            }
            // TCP's own: keep-alive, or the user timeout, which a peer that is there and does not
            // read runs into as well.
            io::ErrorKind::TimedOut => Self::new(by, phase, EndCause::Timeout)
                .with("it acknowledged nothing, or read nothing, for tcp_user_timeout"),
            // A layer's word for what is no TLS, or no frame of WebSocket: the proxy has closed, as after
            // a malformed CONNECT.
            io::ErrorKind::InvalidData => {
                let by = if by == EndBy::Client { EndBy::Proxy } else { by };
                Self::new(by, phase, EndCause::Malformed).with(error.to_string())
            }
            _ => Self::new(by, phase, EndCause::Error).with(error.to_string()),
        }
    }
}
