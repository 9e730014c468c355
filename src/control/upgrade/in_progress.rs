//! An upgrade in progress, as the control loop sees it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    giver::GiverDriver,
    steps::{Report, Reports, Step},
};
use crate::{
    metrics::Totals,
    session::{HandOver, ParkedSession, StayCounts},
    upgrade::MAX_UNANSWERED,
    worker::Worker,
};

/// How long the last messages may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// An upgrade in progress. Dropping it kills a new process that does not accept yet.
pub(super) struct Upgrade {
    steps: mpsc::Receiver<Step>,
    reports: mpsc::Sender<Report>,
    /// Where workers send their sessions; `None` once they have been told.
    parked: Option<mpsc::Sender<ParkedSession>>,
    stays: Arc<StayCounts>,
    task: JoinHandle<()>,
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upgrade {
    /// Starts an upgrade to `binary`, with the configuration in `file`.
    pub(super) fn start(binary: PathBuf, file: PathBuf) -> Self {
        let (sender, steps) = mpsc::channel(1);
        let (to_giver, reports) = mpsc::channel(4);
        let (parked, sessions) = mpsc::channel(MAX_UNANSWERED);
        let stays = Arc::<StayCounts>::default();
        let reports = Reports::new(reports, stays.clone());
        let driver = GiverDriver { steps: sender, reports, sessions };
        let task = tokio::spawn(async move { driver.run(&binary, &file).await });
        Self { steps, reports: to_giver, parked: Some(parked), stays, task }
    }

    /// Waits for the next step. Cancel safe.
    pub(super) async fn next(&mut self) -> Step {
        let ended = || Step::Lost("the hand-over has ended".to_owned());
        self.steps.recv().await.unwrap_or_else(ended)
    }

    /// Makes the workers hand their sessions over.
    pub(super) fn move_sessions(&mut self, workers: &[Worker]) {
        let Some(to) = self.parked.take() else { return };
        let at_most = (MAX_UNANSWERED / workers.len().max(1)).max(1);
        for worker in workers {
            worker.hand_over(HandOver { to: to.clone(), at_most, stays: self.stays.clone() });
        }
    }

    /// Tells the new process how the metrics have risen, and how many connections are left. Returns
    /// false if that cannot be told now.
    pub(super) fn report(&self, totals: Totals, connections: u64) -> bool {
        self.reports.try_send(Report::Progress { totals, connections }).is_ok()
    }

    /// Tells the new process that this one ends. Waits until it is written, for a short time.
    pub(super) async fn finish(mut self, totals: Totals) {
        let all = async {
            if self.reports.send(Report::Finished(totals)).await.is_ok() {
                while self.steps.recv().await.is_some() {}
            }
        };
        let _ = timeout(FINISH_TIMEOUT, all).await;
    }
}
