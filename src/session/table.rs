//! A worker's sessions. Nobody can walk them in one go, and nobody but a session's relay can hold on
//! to it: a look ends with the call.

use std::{cell::RefCell, ops::ControlFlow, rc::Rc};

use slab::Slab;

use super::active::ActiveSession;

/// What a chunk of a walk may cost: some 100 µs where each session costs [`LOOK`].
const CHUNK: u32 = 512;

/// The cost of a look at a session.
pub(in crate::session) const LOOK: u32 = 1;

/// The cost of a session for which system calls are made, or which is woken.
pub(in crate::session) const ACT: u32 = 16;

#[derive(Default)]
pub(in crate::session) struct Table(RefCell<Slab<Rc<ActiveSession>>>);

/// What a chunk of a walk came to.
pub(in crate::session) enum Chunk<T> {
    Found(T),
    /// The next chunk begins with this slot.
    Next(usize),
    Over,
}

impl Table {
    /// Adds a session, for its relay to hold, and tells its slot.
    pub(in crate::session) fn insert(&self, live: ActiveSession) -> (u32, Rc<ActiveSession>) {
        let live = Rc::new(live);
        let slot = self.0.borrow_mut().insert(live.clone());
        (slot as u32, live)
    }

    /// Takes a session out, given its relay's share of it.
    pub(in crate::session) fn remove(
        &self,
        slot: u32,
        live: Rc<ActiveSession>,
    ) -> Option<ActiveSession> {
        drop(self.0.borrow_mut().try_remove(slot as usize));
        Rc::into_inner(live)
    }

    pub(in crate::session) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Looks at the session of a slot.
    pub(in crate::session) fn with<T>(
        &self,
        slot: usize,
        look: impl FnOnce(&ActiveSession) -> T,
    ) -> Option<T> {
        self.0.borrow().get(slot).map(|live| look(live))
    }

    /// Looks at sessions from a slot on until `look` breaks or what it says they cost is enough for
    /// one turn.
    pub(in crate::session) fn chunk<T>(
        &self,
        from: usize,
        look: &mut impl FnMut(usize, &ActiveSession) -> ControlFlow<T, u32>,
    ) -> Chunk<T> {
        let sessions = self.0.borrow();
        let mut cost = 0;
        for slot in from..sessions.capacity() {
            if cost >= CHUNK {
                return Chunk::Next(slot);
            }
            cost += match sessions.get(slot).map(|live| look(slot, live)) {
                None => LOOK,
                Some(ControlFlow::Continue(cost)) => cost,
                Some(ControlFlow::Break(found)) => return Chunk::Found(found),
            };
        }
        Chunk::Over
    }
}
