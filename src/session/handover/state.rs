//! The state of a session as bytes: MessagePack with the names of the fields, so that a version that
//! adds a field still reads the state of one without it.

use rmp_serde::{Serializer, config::BytesMode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    net::StreamState,
    session::{active::IdleLimit, counters::CountersState, record::RecordState, relay::FlowsState},
};

/// The version of the state. It changes when a process of an earlier version must not continue the
/// session, because it would ignore a field that matters.
const VERSION: u16 = 1;

/// Everything that a session is besides its two sockets.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionState {
    version: u16,
    pub(super) body: SessionBody,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionBody {
    pub(super) record: RecordState,
    /// The address of its listener in the configuration of the other process, if it still has it: a
    /// configuration may rename a listener.
    pub(super) bind: Option<String>,
    pub(super) counters: CountersState,
    pub(super) idle_limit: IdleLimit,
    pub(super) flows: FlowsState,
    pub(super) client: StreamState,
    pub(super) upstream: StreamState,
}

/// Why bytes are not the state of a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("the state of the session cannot be read: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    #[error("the state of the session has version {0}; this process knows {VERSION}")]
    Version(u16),
    #[error("no session can be in this state")]
    Impossible,
}

impl SessionBody {
    /// `bytes`: so many at least, so that the keys of TLS are not left behind where a growing buffer
    /// was.
    pub(super) fn encode(
        self,
        bytes: usize,
    ) -> Result<Zeroizing<Vec<u8>>, rmp_serde::encode::Error> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(bytes));
        let mut serializer =
            Serializer::new(&mut *bytes).with_struct_map().with_bytes(BytesMode::ForceIterables);
        SessionState { version: VERSION, body: self }.serialize(&mut serializer)?;
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        /// The version alone, as the rest of another version may not be readable.
        #[derive(Deserialize)]
        struct VersionOnly {
            version: u16,
        }
        let VersionOnly { version } = rmp_serde::from_slice(bytes)?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let state: SessionState = rmp_serde::from_slice(bytes)?;
        Ok(state.body)
    }
}
