//! A worker's sessions. A session is borrowed only for the duration of a call; only its relay keeps
//! an `Rc` to it.

use std::{cell::RefCell, ops::ControlFlow, rc::Rc};

use slab::Slab;

use super::active::ActiveSession;

/// The maximum cost of one step of a walk: some 100 µs if each session costs [`VISIT_COST`].
const MAX_STEP_COST: u32 = 512;

/// The cost of reading a session.
pub(crate) const VISIT_COST: u32 = 1;

/// The cost of a session that requires system calls, or whose task is woken.
pub(crate) const ACTION_COST: u32 = 16;

#[derive(Default)]
pub(crate) struct SessionTable(RefCell<Slab<Rc<ActiveSession>>>);

/// How one step of a walk ended.
pub(crate) enum WalkStep<T> {
    Found(T),
    /// The next step begins with this slot.
    Next(usize),
    Done,
}

impl SessionTable {
    /// Adds a session and sets its slot. The caller is the session's relay, which keeps the `Rc`.
    pub(crate) fn insert(&self, mut session: ActiveSession) -> Rc<ActiveSession> {
        let mut sessions = self.0.borrow_mut();
        let entry = sessions.vacant_entry();
        session.slot = entry.key() as u32;
        entry.insert(Rc::new(session)).clone()
    }

    /// Removes a session, given its relay's `Rc`; `None` while something else holds it.
    pub(crate) fn remove(&self, session: Rc<ActiveSession>) -> Option<ActiveSession> {
        drop(self.0.borrow_mut().try_remove(session.slot as usize));
        Rc::into_inner(session)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Calls `look` with the session that has this slot and ID; `None` if it has ended.
    pub(crate) fn with<T>(
        &self,
        slot: u32,
        session_id: u64,
        look: impl FnOnce(&ActiveSession) -> T,
    ) -> Option<T> {
        let sessions = self.0.borrow();
        let session = sessions.get(slot as usize)?;
        (session.record.session_id == session_id).then(|| look(session))
    }

    /// Calls `look` with the sessions from a slot on, until it breaks or the total of the costs
    /// that it returns is enough for one turn.
    pub(crate) fn walk_step<T>(
        &self,
        from: usize,
        look: &mut impl FnMut(&ActiveSession) -> ControlFlow<T, u32>,
    ) -> WalkStep<T> {
        let sessions = self.0.borrow();
        let mut cost = 0;
        for slot in from..sessions.capacity() {
            if cost >= MAX_STEP_COST {
                return WalkStep::Next(slot);
            }
            cost += match sessions.get(slot).map(|session| look(session)) {
                None => VISIT_COST,
                Some(ControlFlow::Continue(cost)) => cost,
                Some(ControlFlow::Break(found)) => return WalkStep::Found(found),
            };
        }
        WalkStep::Done
    }
}
