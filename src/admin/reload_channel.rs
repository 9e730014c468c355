//! How the admin thread asks the control thread for a reload.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

/// The limit for a whole reload: reading thousands of certificate files takes less.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the control thread for a reload.
#[derive(Debug)]
pub(crate) struct ReloadRequest {
    pub(crate) reply: oneshot::Sender<ReloadOutcome>,
}

/// The outcome of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReloadOutcome {
    /// The number of the configuration now in force, and how it differs from the previous one.
    Applied { generation: u64, changes: Vec<String> },
    /// Nothing has changed; a line for each fault.
    Refused { faults: Vec<String> },
    /// The proxy is shutting down and reloads nothing.
    Draining,
    /// An upgrade is in progress: the new process reads the configuration itself.
    Upgrading,
}

/// The outcomes of the last reloads.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastReloads {
    /// Of the whole configuration, whatever requested it.
    pub(crate) config: Option<FinishedReload>,
    /// Of changed files, with their paths. `None` also if a reload of the configuration has read
    /// these files since they were refused.
    pub(crate) files: Option<(FinishedReload, Vec<PathBuf>)>,
}

/// The outcome of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FinishedReload {
    pub(crate) at: SystemTime,
    /// `applied` or `refused`.
    pub(crate) outcome: &'static str,
    pub(crate) faults: Vec<String>,
}

/// The admin thread's side of the channel.
pub(crate) struct ReloadChannel {
    requests: mpsc::Sender<ReloadRequest>,
    /// One permit: held during a reload.
    in_progress: Semaphore,
    /// Written by the control thread.
    last: Arc<Mutex<LastReloads>>,
}

/// Why a request for a reload has no outcome.
pub(super) enum ReloadError {
    /// Another reload is in progress.
    Busy,
    /// The control thread did not answer within [`RELOAD_TIMEOUT`], or has ended.
    NoAnswer,
}

impl ReloadChannel {
    pub(crate) fn new(
        requests: mpsc::Sender<ReloadRequest>,
        last: Arc<Mutex<LastReloads>>,
    ) -> Self {
        Self { requests, in_progress: Semaphore::new(1), last }
    }

    /// The outcomes of the last reloads.
    pub(super) fn last(&self) -> LastReloads {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a reload and waits for its outcome.
    pub(super) async fn reload(&self) -> Result<ReloadOutcome, ReloadError> {
        let _permit = self.in_progress.try_acquire().map_err(|_| ReloadError::Busy)?;
        let (reply, replied) = oneshot::channel();
        self.requests.try_send(ReloadRequest { reply }).map_err(|_| ReloadError::Busy)?;
        match timeout(RELOAD_TIMEOUT, replied).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) | Err(_) => Err(ReloadError::NoAnswer),
        }
    }
}
