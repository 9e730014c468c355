//! A worker's setup, and the commands it receives.

use std::{os::fd::OwnedFd, sync::Arc};

use tokio::sync::oneshot;

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

/// The answer for one session that a worker was to take over; the second value is an error if it has
/// to stay where it is.
pub(crate) type Adoption = (u64, Result<(), Refusal>);

/// A command to a worker.
#[allow(dead_code, reason = "for the control loop, once it hands sessions over")]
pub(super) enum WorkerCommand {
    Update(Box<WorkerUpdate>),
    Drain(Drain),
    EndSessions,
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
