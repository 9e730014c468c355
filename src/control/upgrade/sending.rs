//! The sessions that have been sent to the new process and are not answered yet.

use std::{collections::HashSet, os::fd::OwnedFd};

use crate::{
    session::ParkedSession,
    upgrade::{HandedSession, ToNew},
};

#[derive(Default)]
pub(super) struct SessionsUnderWay(HashSet<u64>);

impl SessionsUnderWay {
    /// The most sessions in a message: the worker that takes them serves others after it.
    pub(super) const MAX_IN_MESSAGE: usize = 32;

    /// The message with these sessions, and its descriptors.
    pub(super) fn message(
        &mut self,
        parked: impl Iterator<Item = ParkedSession>,
    ) -> (ToNew, Vec<OwnedFd>) {
        let (mut sessions, mut sockets) = (Vec::new(), Vec::new());
        for ParkedSession { id, state, descriptors } in parked {
            self.0.insert(id);
            sessions.push(HandedSession { id, worker: 0, state: state.into() });
            sockets.extend(descriptors);
        }
        (ToNew::Sessions(sessions), sockets)
    }

    /// Whether a session was under way; it no longer is.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        self.0.remove(&id)
    }
}
