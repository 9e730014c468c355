//! What a broker is sent first.

use crate::proto::mqtt::Connect;

/// The message at the start of the client's buffer, which opens its connection to a broker.
#[derive(Clone, Copy)]
pub(crate) enum Opening<'a> {
    /// The broker answers it with a CONNACK.
    Connect(&'a Connect),
    /// A TLS ClientHello that is passed through. The broker's answer is not read.
    ClientHello,
}

impl<'a> Opening<'a> {
    pub(super) fn connect(self) -> Option<&'a Connect> {
        match self {
            Self::Connect(connect) => Some(connect),
            Self::ClientHello => None,
        }
    }

    /// Whether it conforms to the standard, so that every broker should accept it.
    pub(super) fn conforms(self) -> bool {
        match self {
            Self::Connect(connect) => connect.conforms,
            Self::ClientHello => true,
        }
    }
}
