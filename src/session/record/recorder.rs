//! What all records of a worker share.

use std::{cell::Cell, rc::Rc};

use super::shared_facts::SharedFacts;
use crate::session::session_id::run_of;
use crate::{access_log::WorkerLogs, metrics::Metrics, net::Reactor};

/// Writes and counts a worker's records, and issues their session IDs.
pub(crate) struct Recorder {
    pub(super) reactor: Rc<Reactor>,
    pub(crate) metrics: Metrics,
    pub(crate) log: WorkerLogs,
    /// Handshakes and sessions whose end has not been recorded yet.
    unfinished: Cell<usize>,
    next_session_id: Cell<u64>,
    pub(super) tls_facts: SharedFacts,
}

impl Recorder {
    /// `first_session_id` is the start of this worker's own range of session IDs.
    pub(crate) fn new(
        reactor: Rc<Reactor>,
        metrics: Metrics,
        log: WorkerLogs,
        first_session_id: u64,
    ) -> Self {
        let next_session_id = Cell::new(first_session_id);
        Self {
            reactor,
            metrics,
            log,
            unfinished: Cell::new(0),
            next_session_id,
            tls_facts: SharedFacts::default(),
        }
    }

    /// The number of connections that were accepted and whose end has not been recorded yet.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished.get()
    }

    /// Counts a connection as unfinished, and returns its session ID.
    pub(super) fn begin(&self) -> u64 {
        self.unfinished.set(self.unfinished.get() + 1);
        self.next_session_id.replace(self.next_session_id.get().wrapping_add(1))
    }

    /// Counts a connection as unfinished that has moved here from another process, with its ID.
    pub(super) fn continue_session(&self) {
        self.unfinished.set(self.unfinished.get() + 1);
    }

    /// The number of this run, in the IDs of the sessions that begin in this process.
    pub(crate) fn run(&self) -> u16 {
        run_of(self.next_session_id.get())
    }

    pub(super) fn finish(&self) {
        self.unfinished.set(self.unfinished.get() - 1);
    }
}
