//! The messages of the hand-over, in MessagePack with the names of the fields.
//!
//! Fields that a version does not know are ignored, and missing ones have defaults, so that
//! versions that only add fields understand each other. Anything else needs a new version number.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::secret_bytes::SecretBytes;

/// The versions of the hand-over that this program understands.
pub(crate) const VERSIONS: Versions = Versions { min: 1, max: 1 };

/// A range of versions, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Versions {
    pub(crate) fn contains(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// The newest version that both sides understand.
    pub(crate) fn newest_in_common(self, other: Self) -> Option<u32> {
        let newest = self.max.min(other.max);
        (self.contains(newest) && other.contains(newest)).then_some(newest)
    }
}

/// A message, with the number of descriptors that travel with it.
pub(crate) trait Envelope: Serialize + DeserializeOwned {
    fn descriptors(&self) -> usize {
        0
    }

    /// Room for it in its encoded form: one with secrets needs no more, as a buffer that grows would
    /// leave them behind.
    fn encoded_bytes(&self) -> usize {
        256
    }
}

/// From the old process to the new one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ToNew {
    Hello {
        versions: Versions,
        /// The old program's version, for logs.
        program: String,
        pid: u32,
    },
    Listeners(Vec<HandedListener>),
    AdminListener(HandedAdminListener),
    InheritedSockets(Vec<HandedInheritedSocket>),
    /// The last of what the new process needs to become ready.
    State(Box<ProcessState>),
    /// The old process has stopped accepting.
    Go,
    Sessions(Vec<HandedSession>),
    /// What the old process has counted since the last such message, encoded by its owner.
    Totals(Bytes),
    /// The sessions that the old process still has, once a second.
    Remaining {
        count: u64,
        /// Those that cannot move, by reason.
        #[serde(default)]
        stayed: BTreeMap<String, u64>,
    },
    /// The old process has no session any more, and exits.
    Finished,
}

impl Envelope for ToNew {
    fn descriptors(&self) -> usize {
        match self {
            Self::Listeners(listeners) => {
                listeners.iter().map(|listener| usize::from(listener.descriptors)).sum()
            }
            Self::AdminListener(listener) => usize::from(listener.descriptors),
            Self::InheritedSockets(sockets) => {
                sockets.iter().map(|socket| usize::from(socket.descriptors)).sum()
            }
            Self::Sessions(sessions) => sessions.len() * HandedSession::DESCRIPTORS,
            _ => 0,
        }
    }

    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Sessions(sessions) => {
                let session = |it: &HandedSession| it.state.0.len() + HandedSession::MAX_FRAMING;
                sessions.iter().map(session).sum::<usize>() + HandedSession::MAX_FRAMING
            }
            Self::State(state) => state.encoded_bytes(),
            _ => 256,
        }
    }
}

/// From the new process to the old one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ToOld {
    Hello {
        version: u32,
        /// The new program's version, for logs.
        #[serde(default)]
        program: String,
    },
    /// The new process can accept at once.
    Ready,
    /// The new process exits.
    Failed {
        why: String,
    },
    /// The listening sockets are the new process's from here on.
    Accepting,
    Answers(Vec<Answer>),
    /// The new process was asked to open its log files again.
    ReopenLogs,
    /// The new process was asked to stop: the old one ends its sessions as a drain does, and does
    /// not accept again.
    Drain,
}

impl Envelope for ToOld {}

/// A listener's sockets: one descriptor per worker of the old process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HandedListener {
    pub(crate) name: String,
    /// The address in the configuration.
    pub(crate) bind: String,
    pub(crate) descriptors: u16,
}

/// The admin API's listening socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HandedAdminListener {
    /// The address in the configuration.
    pub(crate) bind: String,
    pub(crate) descriptors: u16,
}

/// Sockets that the service manager opened (systemd.socket(5)), in use or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HandedInheritedSocket {
    pub(crate) name: String,
    pub(crate) descriptors: u16,
}

/// What the process remembers apart from its sessions. Each part is encoded by its owner ([`encode`]);
/// an empty part leaves its owner as after a fresh start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProcessState {
    /// The states of brokers that the operator has set.
    pub(crate) broker_states: Bytes,
    /// The percentages of rules that the operator has set.
    pub(crate) rule_percents: Bytes,
    pub(crate) bans: Bytes,
    /// The ranges of session IDs that are in use.
    pub(crate) session_ids: Bytes,
    /// The generated keys of session tickets.
    pub(crate) ticket_keys: SecretBytes,
    /// How many descriptors the connections have that may move.
    pub(crate) descriptors: u64,
}

impl ProcessState {
    fn encoded_bytes(&self) -> usize {
        let Self { broker_states, rule_percents, bans, session_ids, ticket_keys, descriptors: _ } =
            self;
        let open = [broker_states, rule_percents, bans, session_ids].map(Bytes::len);
        open.iter().sum::<usize>() + ticket_keys.0.len() + 256
    }
}

/// A session at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HandedSession {
    pub(crate) id: u64,
    /// Encoded by `session`. It has the keys of TLS connections.
    pub(crate) state: SecretBytes,
}

impl HandedSession {
    /// Towards the client, then towards the broker.
    pub(crate) const DESCRIPTORS: usize = 2;

    /// The most bytes of its encoded form besides the state: names, ID and lengths.
    const MAX_FRAMING: usize = 64;
}

/// Whether the new process has taken a session, or why it has not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) outcome: Result<(), String>,
}

/// Encodes a message.
pub(super) fn encode_message<M: Envelope>(
    message: &M,
) -> Result<Zeroizing<Vec<u8>>, rmp_serde::encode::Error> {
    Ok(encode_secret(message, message.encoded_bytes())?.0)
}

/// Encodes a part of a message that others define, and that has no secrets.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes, rmp_serde::encode::Error> {
    rmp_serde::to_vec_named(value).map(Bytes::from)
}

/// Encodes a part with secrets, which takes at most `bytes`.
pub(crate) fn encode_secret<T: Serialize>(
    value: &T,
    bytes: usize,
) -> Result<SecretBytes, rmp_serde::encode::Error> {
    let mut encoded = Zeroizing::new(Vec::with_capacity(bytes));
    rmp_serde::encode::write_named(&mut *encoded, value)?;
    Ok(SecretBytes(encoded))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}
