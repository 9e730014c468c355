//! A TLS connection as it is passed on to another process.

use rustls::Error;
use serde::{Deserialize, Serialize};

use super::{
    buffers::{OwnEnd, TlsBuffers},
    layer::TlsLayer,
    partial_records::{MAX_SESSION_BYTES, PartialRecords},
    record::{RecordLayer, RecordState},
    state::TlsState,
};
use crate::{
    net::{socket::Socket, stream::backlog::Backlog},
    secret_bytes::SecretBytes,
};

/// All that a [`TlsLayer`] consists of. It has secrets, in its serialized form, too.
///
/// Only one process may go on with it; see [`TlsLayer::capture`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TlsLayerState {
    records: RecordState,
    /// The beginning of a record whose rest has not arrived.
    partial: SecretBytes,
    /// Plaintext that has not been read.
    plain: SecretBytes,
    /// Records that have not been written.
    backlog: SecretBytes,
    peer_ended: bool,
    own_end: OwnEnd,
}

/// Why a connection cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureError {
    /// The peer has violated TLS: the session is about to end.
    Violated,
    /// It is captured already: with two states of one sequence of records, two processes would
    /// encrypt different records with the same nonce.
    Captured,
}

impl TlsLayer {
    /// Captures the state, for another process to go on with. From now on, this layer neither reads
    /// nor writes, whatever is called: every call is pending, and nothing is sent when it ends.
    /// [`Self::resume`] undoes that.
    ///
    /// # Errors
    /// As [`CaptureError`] says.
    pub(in crate::net) fn capture(&self) -> Result<TlsLayerState, CaptureError> {
        let state = &mut *self.state.borrow_mut();
        if state.buffers.is_captured {
            return Err(CaptureError::Captured);
        }
        let TlsBuffers { partial, plain, violation, backlog, peer_ended, own_end, .. } =
            &state.buffers;
        if violation.is_some() {
            return Err(CaptureError::Violated);
        }
        let captured = TlsLayerState {
            records: state.records.state(),
            partial: partial.bytes().into(),
            plain: plain.bytes().into(),
            backlog: backlog.bytes().into(),
            peer_ended: *peer_ended,
            own_end: *own_end,
        };
        state.buffers.is_captured = true;
        Ok(captured)
    }

    /// Goes on after [`Self::capture`]: no other process has the state.
    pub(in crate::net) fn resume(&self) {
        self.state.borrow_mut().buffers.is_captured = false;
    }

    /// Goes on with the state of another process, over the same socket.
    ///
    /// # Errors
    /// The state cannot have come from [`Self::capture`].
    pub(in crate::net) fn restore(state: TlsLayerState, socket: &Socket) -> Result<Self, Error> {
        let TlsLayerState { records, partial, mut plain, backlog: bytes, peer_ended, own_end } =
            state;
        let mut backlog = Backlog::default();
        backlog.keep(&bytes.0);
        let buffers = TlsBuffers {
            partial: PartialRecords::beginning(&partial.0).ok_or_else(invalid)?,
            plain: Backlog::new(std::mem::take(&mut *plain.0)),
            backlog,
            peer_ended,
            own_end,
            ..TlsBuffers::new(MAX_SESSION_BYTES)
        };
        let records = RecordLayer::from_state(records, socket.buffers().keys.clone())?;
        Ok(Self::new(TlsState::new(records, buffers)))
    }
}

fn invalid() -> Error {
    Error::General("more than the beginning of a TLS record".into())
}
