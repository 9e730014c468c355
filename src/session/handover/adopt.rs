//! The new process: takes sessions over, and starts them once the old process knows.

use std::{collections::HashMap, fmt, os::fd::OwnedFd, rc::Rc};

use tokio::task::spawn_local;
use zeroize::Zeroizing;

pub(crate) use super::restore::Refusal;
use super::restore::{MovedListeners, restore};
use crate::{
    labels::EndCause,
    session::{ban_check::find_ban, context::WorkerContext, relay::Relay},
};

/// A session as it comes from another process.
pub(crate) struct MovedSession {
    pub(crate) id: u64,
    /// As of [`ParkedSession`](super::ParkedSession).
    pub(crate) state: Zeroizing<Vec<u8>>,
    /// The sockets of the client and of the broker.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Without the state, which is secret.
impl fmt::Debug for MovedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.state.len();
        write!(f, "MovedSession {{ id: {}, state: {bytes} bytes }}", self.id)
    }
}

/// A worker's sessions that have moved here and do not run yet.
#[derive(Default)]
pub(crate) struct Adoptions {
    relays: HashMap<u64, Relay>,
    listeners: MovedListeners,
}

impl Adoptions {
    /// Takes a session over: it counts and is found, but nothing is read or written until it is
    /// [started](Self::start).
    ///
    /// # Errors
    /// The session stays in the old process; nothing is left of it here.
    pub(crate) fn adopt(
        &mut self,
        context: &Rc<WorkerContext>,
        moved: MovedSession,
    ) -> Result<(), Refusal> {
        let MovedSession { id, state, descriptors } = moved;
        if self.relays.contains_key(&id) {
            return Err(Refusal::Twice);
        }
        let (session, flows) = restore(context, &mut self.listeners, &state, descriptors)?;
        // The brokers or the rules of this configuration may differ.
        session.record.listener.pool.forget_moves();
        self.relays.insert(id, Relay::adopted(context.clone(), session, flows));
        Ok(())
    }

    /// Starts sessions, once the old process has been told that they are here.
    pub(crate) fn start(&mut self, context: &WorkerContext, ids: &[u64]) {
        for relay in ids.iter().filter_map(|id| self.relays.remove(id)) {
            relay.unpark(|session| {
                // A ban may have come while the session was in neither process.
                find_ban(context, &session.record).map(|_| EndCause::Banned)
            });
            spawn_local(relay);
        }
    }

    /// Gives sessions up that the old process keeps, because it was not told that they are here.
    pub(crate) fn give_up(&mut self, ids: &[u64]) {
        for id in ids {
            self.relays.remove(id);
        }
    }
}
