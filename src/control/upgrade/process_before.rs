//! What the process before the upgrade tells, as the control loop acts on it.

use tokio::sync::oneshot;

use super::previous::{FromPrevious, Previous};
use crate::{
    admin::{PreviousState, UpgradeStatus},
    control::proxy::Proxy,
    session::{MovedSession, worker_of},
    worker::{Adoption, Worker},
};

/// The process before the upgrade, if there is one.
pub(super) struct ProcessBefore {
    previous: Previous,
    status: UpgradeStatus,
    /// The connections that it has told last.
    left: Option<u64>,
}

impl ProcessBefore {
    pub(super) fn new(previous: Previous, status: UpgradeStatus) -> Self {
        Self { previous, status, left: None }
    }

    /// Waits for a message. Cancel safe.
    pub(super) async fn next(&mut self) -> FromPrevious {
        self.previous.next().await
    }

    pub(super) fn is_running(&self) -> bool {
        self.previous.is_running()
    }

    /// The connections that it has.
    pub(super) fn connections(&self) -> u64 {
        self.left.unwrap_or(0)
    }

    /// Makes it reopen its access logs.
    pub(super) fn reopen_logs(&self) {
        self.previous.reopen_logs();
    }

    /// Makes it end its sessions.
    pub(super) fn drain(&self) {
        self.previous.drain();
    }

    /// Handles a message of the process before this one. Returns the number of its connections if
    /// that has changed.
    pub(super) fn on_message(&mut self, message: FromPrevious, proxy: &Proxy) -> Option<u64> {
        let status = &self.status;
        match message {
            FromPrevious::Totals(totals) => proxy.metrics.add_totals(&totals),
            FromPrevious::Sessions(sessions, reply) => {
                // Fails only if this process is ending.
                let _ = reply.send(adopt(sessions, &proxy.workers));
            }
            FromPrevious::Start(ids) => {
                status.update(|previous| previous.moved += ids.len() as u64);
                for (worker, ids) in by_worker(ids, &proxy.workers) {
                    worker.start_adopted(ids);
                }
            }
            FromPrevious::GiveUp(ids) => {
                for (worker, ids) in by_worker(ids, &proxy.workers) {
                    worker.give_up_adopted(ids);
                }
            }
            FromPrevious::Remaining { count, stayed } => {
                status.update(|previous| {
                    previous.remaining = count;
                    previous.stayed = stayed;
                });
                let before = self.left.replace(count);
                return Some(count).filter(|_| before != Some(count));
            }
            FromPrevious::Detached => {
                status.update(|previous| previous.state = PreviousState::Detached);
                self.left = None;
                return Some(0);
            }
            FromPrevious::Ended => {
                tracing::info!("upgrade: the hand-over from the process before has ended");
                status.update(|previous| {
                    previous.remaining = 0;
                    previous.stayed.clear();
                    previous.state = PreviousState::Ended;
                });
                self.left = None;
                return Some(0);
            }
        }
        None
    }
}

/// Passes sessions to the workers of their IDs.
fn adopt(sessions: Vec<MovedSession>, workers: &[Worker]) -> Vec<oneshot::Receiver<Vec<Adoption>>> {
    let mut own: Vec<_> = workers.iter().map(|_| Vec::new()).collect();
    for session in sessions {
        own[worker_of(session.id, workers.len())].push(session);
    }
    let with_sessions = workers.iter().zip(own).filter(|(_, own)| !own.is_empty());
    with_sessions.map(|(worker, own)| worker.adopt(own)).collect()
}

/// The workers of these sessions.
fn by_worker(ids: Vec<u64>, workers: &[Worker]) -> impl Iterator<Item = (&Worker, Vec<u64>)> {
    let mut own: Vec<_> = workers.iter().map(|_| Vec::new()).collect();
    for id in ids {
        own[worker_of(id, workers.len())].push(id);
    }
    workers.iter().zip(own).filter(|(_, own)| !own.is_empty())
}
