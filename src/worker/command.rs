//! A worker's setup, and the commands it receives.

use std::{os::fd::OwnedFd, sync::Arc};

use crate::{
    access_log::WorkerLogs,
    session::{Drain, ProcessContext, SessionQuery},
    snapshot::Snapshot,
};

/// The setup of a worker.
pub struct WorkerSetup {
    /// The worker's index, starting at 0.
    pub index: u16,
    pub shared: ProcessContext,
    pub update: WorkerUpdate,
    pub first_session_id: u64,
}

/// A new configuration for a worker.
pub struct WorkerUpdate {
    pub snapshot: Arc<Snapshot>,
    /// This worker's sockets of new listeners, each with the [`id`](crate::listener::Listener::id)
    /// of its listener.
    pub sockets: Vec<(u64, OwnedFd)>,
    pub log: WorkerLogs,
    /// Dropped once the worker has applied it.
    pub pending: PendingUpdate,
}

/// Held by workers that have not applied a configuration yet.
pub(crate) type PendingUpdate = tokio::sync::mpsc::Sender<()>;

/// A command to a worker.
pub(super) enum WorkerCommand {
    Update(Box<WorkerUpdate>),
    Drain(Drain),
    EndSessions,
    Answer(SessionQuery),
    Stop,
}
