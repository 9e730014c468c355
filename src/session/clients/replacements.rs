//! Replacements: at a limit, a client's newer session may replace an older session of the same
//! client.
//!
//! Only the worker of the older session can tell which client it belongs to, so it is asked.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::entry::{ClientIdentity, DirectoryEntry};
use crate::{
    limits::{CountedAddress, ReachedQuota},
    session::session_id::worker_of,
    upstream::WorkerSignal,
};

/// The sessions that are being replaced, and the queries to each worker about its own sessions.
pub(crate) struct Replacements {
    /// Session IDs. Locked for one lookup at a time.
    claimed: Mutex<HashSet<u64>>,
    queries: Box<[Mutex<Vec<ReplacementQuery>>]>,
    signal: Arc<WorkerSignal>,
}

/// A limit that a newer session has reached and that an older session counts towards.
#[derive(Clone)]
pub(crate) enum ReachedLimit {
    /// `max_connections` of the broker with this [`Broker::id`](crate::upstream::Broker::id).
    Broker(u64),
    /// `max_connections_per_ip`.
    Address(CountedAddress),
    /// All of these quotas.
    Quotas(Arc<[ReachedQuota]>),
}

/// Asks whether an older session belongs to this client and counts towards this limit.
pub(crate) struct ReplacementQuery {
    pub(crate) older: DirectoryEntry,
    pub(crate) newer: Arc<ClientIdentity>,
    pub(crate) limit: ReachedLimit,
    pub(crate) reply: oneshot::Sender<bool>,
}

/// An older session that a newer one replaces. While this is held, no other session can replace it;
/// otherwise anyone who knows a client ID could open any number of connections beyond a limit.
pub(crate) struct ReplacedSession {
    replacements: Arc<Replacements>,
    pub(crate) older: DirectoryEntry,
    /// Whether the newer client counts towards a limit until its connection has closed, even if its
    /// broker refuses it. (Quotas count only clients that were accepted.)
    pub(crate) until_closed: bool,
}

impl Replacements {
    pub(crate) fn new(workers: usize, signal: Arc<WorkerSignal>) -> Self {
        let queries = (0..workers).map(|_| Mutex::default()).collect();
        Self { claimed: Mutex::default(), queries, signal }
    }

    /// Claims a session to replace it at this limit; `None` if another session has claimed it.
    pub(crate) fn claim(
        self: &Arc<Self>,
        older: DirectoryEntry,
        limit: &ReachedLimit,
    ) -> Option<ReplacedSession> {
        let is_free = self.with_claimed(|claimed| claimed.insert(older.session_id));
        let until_closed = !matches!(limit, ReachedLimit::Quotas(_));
        is_free.then(|| ReplacedSession { replacements: self.clone(), older, until_closed })
    }

    /// Asks the older session's worker.
    pub(crate) fn ask(&self, query: ReplacementQuery) {
        if let Some(queries) =
            self.queries.get(worker_of(query.older.session_id, self.queries.len()))
        {
            queries.lock().unwrap_or_else(PoisonError::into_inner).push(query);
            self.signal.raise();
        }
    }

    /// Takes the queries that `worker` has not answered yet.
    pub(crate) fn take_queries(&self, worker: u16) -> Vec<ReplacementQuery> {
        self.queries.get(usize::from(worker)).map_or_else(Vec::new, |queries| {
            std::mem::take(&mut *queries.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    fn with_claimed<T>(&self, look: impl FnOnce(&mut HashSet<u64>) -> T) -> T {
        look(&mut self.claimed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ReplacedSession {
    fn drop(&mut self) {
        self.replacements.with_claimed(|claimed| claimed.remove(&self.older.session_id));
    }
}
