//! A worker's setup, and the commands it receives.

use std::{io, os::fd::OwnedFd, sync::Arc};

use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{
    access_log::WorkerLogs,
    session::{
        Drain, HandOver, HandOverOutcome, MovedSession, ProcessContext, Refusal, SessionQuery,
    },
    snapshot::Snapshot,
};

/// The setup of a worker.
pub struct WorkerSetup {
    /// The worker's index, starting at 0.
    pub index: u16,
    pub shared: ProcessContext,
    pub update: WorkerUpdate,
    pub first_session_id: u64,
    /// Whether it accepts at once, or waits for [`Worker::accept`](super::Worker::accept).
    pub accepts: bool,
}

/// A new configuration for a worker.
pub struct WorkerUpdate {
    pub snapshot: Arc<Snapshot>,
    /// This worker's sockets of new listeners, each with the [`id`](crate::listener::Listener::id)
    /// of its listener. A listener may have several on a worker.
    pub sockets: Vec<(u64, OwnedFd)>,
    pub log: WorkerLogs,
    /// Dropped once the worker has applied it.
    pub pending: PendingUpdate,
}

/// Held by workers that have not applied a configuration yet.
pub(crate) type PendingUpdate = tokio::sync::mpsc::Sender<()>;

/// A worker's listening sockets, each with the [`id`](crate::listener::Listener::id) of its
/// listener.
pub(crate) type ListeningSockets = Vec<(u64, OwnedFd)>;

/// The answer for one session that a worker was to take over; the second value is an error if it has
/// to stay where it is.
pub(crate) type Adoption = (u64, Result<(), Refusal>);

/// A command to a worker.
pub(super) enum WorkerCommand {
    Update(Box<WorkerUpdate>),
    Drain(Drain),
    EndSessions,
    /// Duplicates the listening sockets. The reply also tells the worker's index.
    ShareSockets(UnboundedSender<(u16, io::Result<ListeningSockets>)>),
    /// Starts or stops accepting; the sender is dropped once it has.
    Accept(bool, PendingUpdate),
    /// Closes the listening sockets, whose queues another process accepts, and ends the worker
    /// with its last session.
    Retire,
    Answer(SessionQuery),
    /// Hands the worker's sessions over to another process.
    HandOver(HandOver),
    /// The other process has answered for a session.
    HandOverAnswer {
        session_id: u64,
        outcome: HandOverOutcome,
    },
    /// The hand-over is over: sessions without an answer go on here.
    HandOverEnd,
    /// Takes sessions over from another process; they are started later.
    Adopt {
        sessions: Vec<MovedSession>,
        reply: oneshot::Sender<Vec<Adoption>>,
    },
    /// The other process knows that these sessions are here.
    StartAdopted(Vec<u64>),
    /// The other process keeps these sessions.
    GiveUpAdopted(Vec<u64>),
    Stop,
}
