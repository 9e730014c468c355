//! How the admin thread asks the control thread for an upgrade, and what it shows of the last one.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

/// The limit for the answer: 30 s for the check of the configuration, 30 s for the start of the new
/// process, and some more for the hand-over of the sockets.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(80);

/// Asks the control thread for an upgrade.
#[derive(Debug)]
pub(crate) struct UpgradeRequest {
    /// The program to start; `None`: the path that this process was started by.
    pub(crate) binary: Option<PathBuf>,
    pub(crate) reply: oneshot::Sender<UpgradeOutcome>,
}

/// The outcome of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeOutcome {
    /// The new process accepts the clients.
    Accepting { pid: u32, version: String },
    /// This process carries on as before; the reason, one line each.
    Failed { faults: Vec<String> },
    /// Not started, because of something else in progress.
    Busy(&'static str),
}

/// The last upgrade that this process took part in.
#[derive(Clone, Debug)]
pub(crate) struct LastUpgrade {
    /// When it failed, or the new process began to accept.
    pub(crate) at: SystemTime,
    pub(crate) result: Result<PreviousProcess, String>,
}

/// The process before the upgrade to this one.
#[derive(Clone, Debug, Default)]
pub(crate) struct PreviousProcess {
    pub(crate) pid: u32,
    pub(crate) version: String,
    /// Sessions that this process has taken over.
    pub(crate) moved: u64,
    /// Connections that it still has.
    pub(crate) remaining: u64,
    /// Sessions that could not move, by reason.
    pub(crate) stayed: BTreeMap<String, u64>,
    pub(crate) state: PreviousState,
}

/// What is known about the process before an upgrade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PreviousState {
    #[default]
    Running,
    /// It runs, but the hand-over has broken off, so that it no longer tells what it has.
    Detached,
    Ended,
}

impl PreviousState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Detached => "detached",
            Self::Ended => "ended",
        }
    }
}

/// The last upgrade, written by the control thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpgradeStatus(Arc<Mutex<Option<LastUpgrade>>>);

impl UpgradeStatus {
    pub(crate) fn get(&self) -> Option<LastUpgrade> {
        self.lock().clone()
    }

    pub(crate) fn set(&self, result: Result<PreviousProcess, String>) {
        *self.lock() = Some(LastUpgrade { at: SystemTime::now(), result });
    }

    /// Changes what is known about the previous process, if there is one.
    pub(crate) fn update(&self, update: impl FnOnce(&mut PreviousProcess)) {
        if let Some(LastUpgrade { result: Ok(previous), .. }) = &mut *self.lock() {
            update(previous);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<LastUpgrade>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The admin thread's side of the channel.
pub(crate) struct UpgradeChannel {
    requests: mpsc::Sender<UpgradeRequest>,
    /// One permit: held during an upgrade.
    in_progress: Semaphore,
    status: UpgradeStatus,
}

/// Why a request for an upgrade has no outcome.
pub(super) enum UpgradeError {
    /// Another upgrade is in progress.
    Busy,
    /// The control thread did not answer within [`UPGRADE_TIMEOUT`], or has ended.
    NoAnswer,
}

impl UpgradeChannel {
    pub(crate) fn new(requests: mpsc::Sender<UpgradeRequest>, status: UpgradeStatus) -> Self {
        Self { requests, in_progress: Semaphore::new(1), status }
    }

    /// The last upgrade that this process took part in.
    pub(super) fn last(&self) -> Option<LastUpgrade> {
        self.status.get()
    }

    /// Asks for an upgrade and waits for its outcome.
    pub(super) async fn upgrade(
        &self,
        binary: Option<PathBuf>,
    ) -> Result<UpgradeOutcome, UpgradeError> {
        let _permit = self.in_progress.try_acquire().map_err(|_| UpgradeError::Busy)?;
        let (reply, replied) = oneshot::channel();
        let request = UpgradeRequest { binary, reply };
        self.requests.try_send(request).map_err(|_| UpgradeError::Busy)?;
        match timeout(UPGRADE_TIMEOUT, replied).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) | Err(_) => Err(UpgradeError::NoAnswer),
        }
    }
}
