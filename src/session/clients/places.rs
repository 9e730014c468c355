//! Places of older sessions, which newer ones of the same clients may have where a limit is reached.
//!
//! Only the worker of the older session can tell whose that is, so it is asked.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::held::{Held, Newer};
use crate::{limits::CountedAddress, session::session_id::worker_of, upstream::WorkerSignal};

/// Which older sessions stand in for newer ones, and what each worker is asked about its own.
pub(in crate::session) struct Places {
    /// Of each the session ID. Held for one look-up at a time.
    taken: Mutex<HashSet<u64>>,
    questions: Box<[Mutex<Vec<Question>>]>,
    signal: Arc<WorkerSignal>,
}

/// A limit at which an older session has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Place {
    /// The broker's [`Broker::id`](crate::upstream::Broker::id).
    Broker(u64),
    Address(CountedAddress),
}

/// Whether an older session is of this client and has this place.
pub(in crate::session) struct Question {
    pub(in crate::session) older: Held,
    pub(in crate::session) newer: Arc<Newer>,
    pub(in crate::session) place: Place,
    pub(in crate::session) answer: oneshot::Sender<bool>,
}

/// An older session whose place a newcomer is to have. No other newcomer gets it while this is held,
/// or anybody who knows an ID could have any number of connections beyond a limit.
pub(in crate::session) struct StandIn {
    places: Arc<Places>,
    pub(in crate::session) older: Held,
}

impl Places {
    pub(in crate::session) fn new(workers: usize, signal: Arc<WorkerSignal>) -> Self {
        let questions = (0..workers).map(|_| Mutex::default()).collect();
        Self { taken: Mutex::default(), questions, signal }
    }

    /// Has this session stand in, unless it does already.
    pub(in crate::session) fn take(self: &Arc<Self>, older: Held) -> Option<StandIn> {
        let is_free = self.taken(|taken| taken.insert(older.session));
        is_free.then(|| StandIn { places: self.clone(), older })
    }

    /// Asks the older session's worker.
    pub(in crate::session) fn ask(&self, question: Question) {
        if let Some(questions) = self.questions.get(worker_of(question.older.session)) {
            questions.lock().unwrap_or_else(PoisonError::into_inner).push(question);
            self.signal.ring();
        }
    }

    /// What `worker` has been asked.
    pub(in crate::session) fn questions(&self, worker: u16) -> Vec<Question> {
        self.questions.get(usize::from(worker)).map_or_else(Vec::new, |questions| {
            std::mem::take(&mut *questions.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    fn taken<T>(&self, look: impl FnOnce(&mut HashSet<u64>) -> T) -> T {
        look(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.places.taken(|taken| taken.remove(&self.older.session));
    }
}
