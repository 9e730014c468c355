//! Sessions that have parked, until they are sent to the new process.

use std::{collections::HashMap, mem, os::fd::OwnedFd};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    session::ParkedSession,
    upgrade::{HandedSession, ToNew},
};

#[derive(Default)]
pub(super) struct ParkedSessions {
    /// Those that have just been received.
    new: Vec<u64>,
    by_id: HashMap<u64, ParkedSession>,
    /// Those to send next.
    marked: Vec<u64>,
    buffer: Vec<ParkedSession>,
}

impl ParkedSessions {
    /// The most sessions in a message: the worker that takes them serves others after it.
    pub(super) const MAX_IN_MESSAGE: usize = 32;

    /// Receives at most `max` sessions; 0 at the end. Cancel safe.
    pub(super) async fn receive(
        &mut self,
        from: &mut mpsc::Receiver<ParkedSession>,
        max: usize,
    ) -> usize {
        let count = from.recv_many(&mut self.buffer, max).await;
        for session in self.buffer.drain(..) {
            self.new.push(session.id);
            self.by_id.insert(session.id, session);
        }
        count
    }

    /// Takes the IDs of those that have just been received, one by one.
    pub(super) fn new_ids(&mut self) -> impl Iterator<Item = u64> {
        std::iter::from_fn(|| self.new.pop())
    }

    /// Sends a session with the next message.
    pub(super) fn mark(&mut self, id: u64) {
        self.marked.push(id);
    }

    /// Drops what was kept of a session, which goes on in this process.
    pub(super) fn forget(&mut self, id: u64) {
        self.by_id.remove(&id);
    }

    /// The message with the sessions that are marked, and its descriptors.
    pub(super) fn message(&mut self) -> Option<(ToNew, Vec<OwnedFd>)> {
        let (mut sessions, mut sockets) = (Vec::new(), Vec::new());
        for id in mem::take(&mut self.marked) {
            let Some(ParkedSession { id, state, descriptors }) = self.by_id.remove(&id) else {
                continue;
            };
            let state = Bytes::copy_from_slice(&state);
            sessions.push(HandedSession { id, worker: 0, state });
            sockets.extend(descriptors);
        }
        (!sessions.is_empty()).then_some((ToNew::Sessions(sessions), sockets))
    }
}
