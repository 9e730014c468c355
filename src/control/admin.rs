//! Starts the admin listener, and connects it to the control thread.

use std::{
    path::{PathBuf, absolute},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Instant, SystemTime},
};

use anyhow::Context;
use tokio::sync::mpsc;

use super::{descriptors::max_admin_connections, proxy::Proxy};
use crate::{
    admin::{
        AdminListener, AdminMode, AdminState, AdminThread, FinishedReload, LastReloads,
        ReloadChannel, ReloadOutcome, ReloadRequest, UpgradeChannel,
    },
    program_log::ProgramLog,
    session::Inspector,
    worker::Worker,
};

/// The control thread's end of the reload channel.
pub(super) struct ReloadRequests {
    requests: mpsc::Receiver<ReloadRequest>,
    last: Arc<Mutex<LastReloads>>,
}

impl ReloadRequests {
    /// Waits for a request by the API; `None` once the API is gone.
    pub(super) async fn recv(&mut self) -> Option<ReloadRequest> {
        self.requests.recv().await
    }

    /// Records the outcome of a reload for the API, whether or not the API requested it.
    pub(super) fn record(&self, outcome: &ReloadOutcome) {
        let mut last = self.last();
        let (outcome, faults) = match outcome {
            ReloadOutcome::Applied { .. } => {
                // All files were read and are in use.
                last.files.take_if(|(files, _)| !files.faults.is_empty());
                ("applied", Vec::new())
            }
            ReloadOutcome::Refused { faults } => ("refused", faults.clone()),
            ReloadOutcome::Draining | ReloadOutcome::Upgrading => return,
        };
        last.config = Some(FinishedReload { at: SystemTime::now(), outcome, faults });
    }

    /// Records the outcome of a reload of changed files. Returns false if the last one was refused
    /// for the same faults.
    pub(super) fn record_files(&self, paths: Vec<PathBuf>, faults: Vec<String>) -> bool {
        let mut last = self.last();
        let is_known = last.files.as_ref().is_some_and(|(before, _)| before.faults == faults);
        let outcome = if faults.is_empty() { "applied" } else { "refused" };
        let is_new = faults.is_empty() || !is_known;
        last.files = Some((FinishedReload { at: SystemTime::now(), outcome, faults }, paths));
        is_new
    }

    fn last(&self) -> MutexGuard<'_, LastReloads> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the reload channel between the API and the control thread.
pub(super) fn reload_channel() -> (ReloadChannel, ReloadRequests) {
    let last = Arc::default();
    let (sender, requests) = mpsc::channel(1);
    (ReloadChannel::new(sender, Arc::clone(&last)), ReloadRequests { requests, last })
}

/// What the admin listener shows and controls.
pub(super) struct AdminSetup<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) draining: &'a Arc<AtomicBool>,
    pub(super) log: ProgramLog,
    pub(super) reloads: ReloadChannel,
    pub(super) upgrades: UpgradeChannel,
    /// As it begins.
    pub(super) mode: AdminMode,
}

/// Starts the admin thread.
///
/// # Errors
/// If the thread or its event loop cannot be created.
pub(super) fn start(listener: AdminListener, setup: AdminSetup<'_>) -> anyhow::Result<AdminThread> {
    let AdminSetup { proxy, draining, log, reloads, upgrades, mode } = setup;
    let address = listener.local_addr();
    let state = AdminState {
        snapshot: proxy.current.clone(),
        workers: proxy.workers.len(),
        metrics: proxy.metrics.clone(),
        limiter: proxy.limiter.clone(),
        draining: draining.clone(),
        log,
        blocked_logs: proxy.logs.blocked_logs(),
        sessions: Inspector::new(
            proxy.workers.iter().map(Worker::asker).collect(),
            proxy.clients.clone(),
        ),
        reloads,
        upgrades,
        config_file: absolute(&proxy.file).unwrap_or_else(|_| proxy.file.clone()),
        started: (SystemTime::now(), Instant::now()),
        max_connections: max_admin_connections(proxy.descriptors.limit()) as usize,
    };
    let thread =
        AdminThread::start(listener, state, mode).context("cannot start the admin thread")?;
    if let Some(address) = address {
        tracing::info!(%address, "admin listening");
    }
    Ok(thread)
}
