//! What a worker keeps of its sessions on their way to another process.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    fmt,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::{
    labels::StayReason,
    session::{active::ActiveSession, counters::Departure},
};

/// A session that waits for the answer of another process, in the form in which that one can go on.
pub(crate) struct ParkedSession {
    pub(crate) id: u64,
    /// The state, for [`MovedSession`](super::MovedSession).
    pub(crate) state: Zeroizing<Vec<u8>>,
    /// Duplicates of the sockets of the client and of the broker.
    pub(crate) descriptors: [OwnedFd; 2],
}

/// Without the state, which is secret.
impl fmt::Debug for ParkedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.state.len();
        write!(f, "ParkedSession {{ id: {}, state: {bytes} bytes }}", self.id)
    }
}

/// How many sessions stay in their process, by reason. A session that has ended no longer counts.
#[derive(Debug)]
pub(crate) struct StayCounts([AtomicU64; StayReason::ALL.len()]);

impl Default for StayCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl StayCounts {
    /// The reasons that any session has, each with the number of its sessions.
    pub(crate) fn list(&self) -> Vec<(StayReason, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        StayReason::ALL.iter().copied().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

/// A session of this worker, which may have ended since.
#[derive(Clone, Copy)]
pub(super) struct SessionKey {
    pub(super) slot: u32,
    pub(super) session_id: u64,
}

/// The worker's part of a hand-over.
#[derive(Default)]
pub(crate) struct Departures {
    /// `None` unless a hand-over runs.
    round: RefCell<Option<Round>>,
    /// Counts the hand-overs.
    number: Cell<u64>,
    /// Of the last hand-over.
    stays: RefCell<Arc<StayCounts>>,
    /// This worker's part of `stays`.
    own_stays: RefCell<[u64; StayReason::ALL.len()]>,
    /// Notified when the hand-over may be able to go on.
    pub(super) changed: Notify,
}

struct Round {
    /// The sessions that have not been asked yet.
    queue: VecDeque<SessionKey>,
    /// The most sessions without an answer.
    at_most: usize,
    /// The slots of the sessions that are asked or parked, by ID.
    open: HashMap<u64, u32>,
    /// Those that are parked and not sent yet.
    parked: VecDeque<ParkedSession>,
}

impl Departures {
    /// Begins a hand-over; returns its number. Sessions that had to stay in the last one count in
    /// this one, until they are forgotten.
    pub(super) fn begin(&self, at_most: usize, stays: &Arc<StayCounts>) -> u64 {
        let before = self.stays.replace(stays.clone());
        for (reason, own) in self.own_stays.borrow().iter().enumerate() {
            before.0[reason].fetch_sub(*own, Ordering::Relaxed);
            stays.0[reason].fetch_add(*own, Ordering::Relaxed);
        }
        self.number.set(self.number.get() + 1);
        let (queue, open, parked) = (VecDeque::new(), HashMap::new(), VecDeque::new());
        self.round.replace(Some(Round { queue, at_most: at_most.max(1), open, parked }));
        self.number.get()
    }

    /// Ends the hand-over; returns the sessions without an answer. The descriptors of those that
    /// were not sent are closed.
    pub(super) fn end(&self) -> Vec<SessionKey> {
        self.changed.notify_one();
        let Some(round) = self.round.take() else { return Vec::new() };
        let key = |(session_id, slot)| SessionKey { slot, session_id };
        round.open.into_iter().map(key).collect()
    }

    /// Whether the hand-over with this number runs.
    pub(super) fn is_current(&self, number: u64) -> bool {
        self.number.get() == number && self.round.borrow().is_some()
    }

    /// Whether no session is left to be asked, to be sent or to be answered.
    pub(super) fn is_idle(&self) -> bool {
        self.round.borrow().as_ref().is_none_or(|round| {
            round.queue.is_empty() && round.open.is_empty() && round.parked.is_empty()
        })
    }

    /// Has a session asked: one of those that the hand-over finds, or one whose relay begins during
    /// it.
    pub(in crate::session) fn queue(&self, session: &ActiveSession) {
        if let Some(round) = &mut *self.round.borrow_mut() {
            let session_id = session.record.session_id;
            round.queue.push_back(SessionKey { slot: session.slot, session_id });
            self.changed.notify_one();
        }
    }

    /// The next session to ask, unless too many are without an answer.
    pub(super) fn next(&self) -> Option<SessionKey> {
        let round = &mut *self.round.borrow_mut();
        let round = round.as_mut().filter(|round| round.open.len() < round.at_most)?;
        round.queue.pop_front()
    }

    /// Asks a session to park.
    pub(super) fn ask(&self, session: &ActiveSession) {
        if let Some(round) = &mut *self.round.borrow_mut() {
            round.open.insert(session.record.session_id, session.slot);
            session.counters.departure.set(Departure::Asked);
            session.client.wake();
        }
    }

    /// Keeps the state of a session that has parked until it is sent.
    pub(super) fn set_parked(&self, session: &ActiveSession, parked: ParkedSession) {
        if let Some(round) = &mut *self.round.borrow_mut() {
            round.parked.push_back(parked);
            session.counters.departure.set(Departure::Parked);
            self.changed.notify_one();
        }
    }

    /// The next state to send.
    pub(super) fn take_parked(&self) -> Option<ParkedSession> {
        self.round.borrow_mut().as_mut()?.parked.pop_front()
    }

    /// Takes a session with this ID that waits for an answer; returns its slot.
    pub(super) fn take_answered(&self, session_id: u64) -> Option<u32> {
        self.changed.notify_one();
        self.round.borrow_mut().as_mut()?.open.remove(&session_id)
    }

    /// Has a session asked again after an answer to another, which frees descriptors; false if no
    /// other is without an answer.
    pub(super) fn postpone(&self, session: &ActiveSession) -> bool {
        let round = &mut *self.round.borrow_mut();
        let Some(round) = round.as_mut().filter(|round| round.open.len() > 1) else { return false };
        let session_id = session.record.session_id;
        round.open.remove(&session_id);
        // So many at a time are too many.
        round.at_most = round.open.len();
        round.queue.push_back(SessionKey { slot: session.slot, session_id });
        session.counters.departure.set(Departure::NotAsked);
        true
    }

    /// Counts a session that stays; it is not asked again in this hand-over.
    pub(super) fn set_stays(&self, session: &ActiveSession, reason: StayReason) {
        let session_id = session.record.session_id;
        if let Some(round) = &mut *self.round.borrow_mut() {
            round.open.remove(&session_id);
            self.changed.notify_one();
        }
        session.counters.departure.set(Departure::Stays(reason));
        self.count(reason, true);
        tracing::debug!(
            session = format_args!("{session_id:016x}"),
            reason = reason.as_str(),
            "a session stays in this process"
        );
    }

    /// Forgets a session that leaves its worker, or that had to stay and is asked again.
    pub(in crate::session) fn forget(&self, session: &ActiveSession) {
        match session.counters.departure.get() {
            Departure::NotAsked | Departure::Moved => {}
            Departure::Asked | Departure::Parked => {
                self.take_answered(session.record.session_id);
            }
            Departure::Stays(reason) => {
                self.count(reason, false);
                session.counters.departure.set(Departure::NotAsked);
            }
        }
    }

    fn count(&self, reason: StayReason, stays: bool) {
        let (own, all) = (&mut self.own_stays.borrow_mut()[reason as usize], self.stays.borrow());
        let all = &all.0[reason as usize];
        if stays {
            *own += 1;
            all.fetch_add(1, Ordering::Relaxed);
        } else {
            *own -= 1;
            all.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
