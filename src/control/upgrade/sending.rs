//! Sessions that have parked, until they are sent to the new process.

use std::{collections::HashMap, mem, os::fd::OwnedFd};

use tokio::sync::mpsc;

use crate::{
    secret_bytes::SecretBytes,
    session::ParkedSession,
    upgrade::{HandedSession, ToNew},
};

/// The longest state of a session. A frame takes 4 MiB, and a state little more than what a pipe, two
/// sockets' buffers and a TLS record hold.
const MAX_STATE_BYTES: usize = 3 << 20;

/// The most bytes of states in a message with several: reading more at once would hold up the
/// sessions that have moved already.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// A message with sessions and their descriptors.
pub(super) type SessionsMessage = (ToNew, Vec<OwnedFd>);

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

    /// The messages with the sessions that are marked, and their descriptors; and the IDs of those
    /// that are too large for a message.
    pub(super) fn messages(&mut self) -> (Vec<SessionsMessage>, Vec<u64>) {
        let (mut messages, mut too_large) = (Vec::new(), Vec::new());
        let mut batch = Batch::default();
        for id in mem::take(&mut self.marked) {
            let Some(session) = self.by_id.remove(&id) else { continue };
            if session.state.len() > MAX_STATE_BYTES {
                too_large.push(id);
                continue;
            }
            if batch.bytes + session.state.len() > MAX_BATCH_BYTES {
                messages.extend(mem::take(&mut batch).message());
            }
            batch.add(session);
        }
        messages.extend(batch.message());
        (messages, too_large)
    }
}

/// Sessions for one message.
#[derive(Default)]
struct Batch {
    sessions: Vec<HandedSession>,
    sockets: Vec<OwnedFd>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, ParkedSession { id, state, descriptors }: ParkedSession) {
        self.bytes += state.len();
        self.sessions.push(HandedSession { id, state: SecretBytes(state) });
        self.sockets.extend(descriptors);
    }

    /// `None` without sessions.
    fn message(self) -> Option<SessionsMessage> {
        (!self.sessions.is_empty()).then_some((ToNew::Sessions(self.sessions), self.sockets))
    }
}
