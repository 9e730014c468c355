//! The packets of a session as they pass: how each side says that it ends the session, and a keep
//! alive that the client changes. The bytes are passed on first, and never changed.

use serde::{Deserialize, Serialize};

use super::flow::RelayedChunk;
use crate::{
    proto::mqtt::{Boundary, KeepAliveChange, Version, disconnect},
    session::{active::IdleLimit, record::Record},
};

/// The client's packets, from its CONNECT on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientPackets {
    boundary: Boundary,
    version: Version,
    keep_alive: KeepAliveChange,
}

/// The broker's packets, from its CONNACK on, if the client may have to be sent whole packets only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BrokerPackets(Boundary);

impl ClientPackets {
    /// `is_after_packet`: whether the next byte begins a packet. If that is unknown, the stream is
    /// not followed.
    pub(crate) fn new(version: Version, is_after_packet: bool) -> Self {
        let mut boundary = Boundary::START;
        if !is_after_packet {
            boundary.lose();
        }
        Self { boundary, version, keep_alive: KeepAliveChange::default() }
    }

    /// How many of the next bytes are certain to belong to the packet under way.
    pub(super) fn certain_rest(&self) -> usize {
        self.boundary.certain_rest()
    }

    /// As [`Boundary::is_possible`].
    pub(super) fn is_possible(&self) -> bool {
        self.boundary.is_possible()
    }

    /// Records a DISCONNECT in what has passed, and applies a change of the keep alive to the
    /// limit.
    pub(crate) fn note(&mut self, chunk: &RelayedChunk<'_>, record: &Record, limit: &IdleLimit) {
        let Self { boundary, version, keep_alive } = self;
        match *chunk {
            RelayedChunk::Bytes(bytes) => boundary.feed(bytes, |part| {
                if let Some(code) = disconnect::code(&part, *version) {
                    record.client_disconnect.set(Some(code));
                }
                if let Some(seconds) = keep_alive.read(part, *version) {
                    limit.change_keep_alive(seconds);
                }
            }),
            RelayedChunk::Spliced(count) => {
                boundary.skip(count);
                keep_alive.skip();
            }
        }
        if boundary.is_lost() {
            // Later changes will not be seen.
            limit.keep_longest();
        }
    }
}

impl BrokerPackets {
    /// The broker's packets in a session of `version`. They are followed in 5.0, where the client
    /// is told why its session ends, and if a TLS key `has_limit`, so that it ends between two of
    /// them.
    pub(crate) fn new(version: Version, has_limit: bool) -> Option<Self> {
        (version == Version::V5 || has_limit).then_some(Self(Boundary::START))
    }

    /// How many of the next bytes are certain to belong to the packet under way.
    pub(super) fn certain_rest(&self) -> usize {
        self.0.certain_rest()
    }

    /// As [`Boundary::is_possible`].
    pub(super) fn is_possible(&self) -> bool {
        self.0.is_possible()
    }

    /// Records a DISCONNECT in what has passed; before 5.0 a broker sends none.
    pub(crate) fn note(&mut self, chunk: &RelayedChunk<'_>, record: &Record) {
        let version = record.client.as_ref().map(|client| client.version);
        match *chunk {
            RelayedChunk::Bytes(bytes) => self.0.feed(bytes, |part| {
                if version == Some(Version::V5)
                    && let Some(code) = disconnect::code(&part, Version::V5)
                {
                    record.broker_disconnect.set(Some(code));
                }
            }),
            RelayedChunk::Spliced(count) => self.0.skip(count),
        }
    }

    /// Whether the proxy can send the client a packet of its own here.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.0.is_at_boundary()
    }
}
