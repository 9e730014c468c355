//! What the control loop and the hand-over tell each other.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{new_process::Failure, state::Handed};
use crate::{
    metrics::Totals,
    session::{HandOverOutcome, StayCounts},
};

/// A step of the hand-over that the control loop takes.
pub(in crate::control) enum Step {
    /// The new process waits for the sockets and the state.
    Collect(oneshot::Sender<Result<Handed, Failure>>),
    /// The new process is ready: stop accepting, and tell the totals.
    StopAccepting(oneshot::Sender<Totals>),
    /// The new process accepts.
    Accepted { pid: u32, version: String },
    /// The upgrade has failed; this process accepts, again if it had stopped.
    Failed(Failure),
    /// The new process has answered for sessions.
    Answers(Vec<(u64, HandOverOutcome)>),
    /// Every session has moved, or stays.
    SessionsMoved { moved: u64 },
    /// The new process asks to reopen the access logs.
    ReopenLogs,
    /// The new process is told to stop, and this one with it.
    Drain,
    /// The new process has ended after it had accepted.
    Lost(Failure),
}

/// What the control loop tells the new process after it has taken over.
pub(super) enum Report {
    Progress { totals: Totals, connections: u64 },
    Finished(Totals),
}

/// The reports to pass on.
pub(super) struct Reports {
    reports: mpsc::Receiver<Report>,
    stays: Arc<StayCounts>,
}

impl Reports {
    pub(super) fn new(reports: mpsc::Receiver<Report>, stays: Arc<StayCounts>) -> Self {
        Self { reports, stays }
    }

    /// The next report; `None` if the proxy ends. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// The sessions that stay, by reason.
    pub(super) fn stayed(&self) -> BTreeMap<String, u64> {
        let stayed = self.stays.list().into_iter();
        stayed.map(|(reason, count)| (reason.as_str().to_owned(), count)).collect()
    }
}
