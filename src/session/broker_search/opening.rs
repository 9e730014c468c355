//! What a broker is sent first.

use crate::proto::mqtt::Connect;

/// The message at the start of the client's buffer, which opens its connection to a broker.
#[derive(Clone, Copy)]
pub(crate) enum Opening<'a> {
    /// The broker answers it with a CONNACK.
    Connect(&'a Connect),
    /// A TLS ClientHello that is passed through, with what the client sent together with it: so many
    /// bytes. The broker's answer is not read.
    ClientHello { len: usize },
}

impl Opening<'_> {
    /// The length in bytes.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Connect(connect) => connect.len,
            Self::ClientHello { len } => len,
        }
    }

    /// Whether it conforms to the standard, so that every broker should accept it.
    pub(super) fn conforms(self) -> bool {
        match self {
            Self::Connect(connect) => connect.conforms,
            Self::ClientHello { .. } => true,
        }
    }
}
