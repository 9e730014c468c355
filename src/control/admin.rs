//! Starts the admin listener, and connects it to the control thread.

use std::{
    path::absolute,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Instant, SystemTime},
};

use anyhow::Context;
use tokio::sync::mpsc;

use super::{descriptors::max_admin_connections, proxy::Proxy};
use crate::{
    admin::{
        AdminListener, AdminState, AdminThread, FinishedReload, ReloadChannel, ReloadOutcome,
        ReloadRequest,
    },
    program_log::ProgramLog,
    session::Inspector,
    worker::Worker,
};

/// The control thread's end of the reload channel.
pub(super) struct ReloadRequests {
    requests: mpsc::Receiver<ReloadRequest>,
    last: Arc<Mutex<Option<FinishedReload>>>,
}

impl ReloadRequests {
    /// Waits for a request by the API; `None` once the API is gone.
    pub(super) async fn recv(&mut self) -> Option<ReloadRequest> {
        self.requests.recv().await
    }

    /// Records the outcome of a reload for the API, whether or not the API requested it.
    pub(super) fn record(&self, outcome: &ReloadOutcome) {
        let (outcome, faults) = match outcome {
            ReloadOutcome::Applied { .. } => ("applied", Vec::new()),
            ReloadOutcome::Refused { faults } => ("refused", faults.clone()),
            ReloadOutcome::Draining => return,
        };
        let last = FinishedReload { at: SystemTime::now(), outcome, faults };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
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
}

/// Starts the admin thread.
///
/// # Errors
/// If the thread or its event loop cannot be created.
pub(super) fn start(listener: AdminListener, setup: AdminSetup<'_>) -> anyhow::Result<AdminThread> {
    let AdminSetup { proxy, draining, log, reloads } = setup;
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
        config_file: absolute(&proxy.file).unwrap_or_else(|_| proxy.file.clone()),
        started: (SystemTime::now(), Instant::now()),
        max_connections: max_admin_connections(proxy.descriptors.limit()) as usize,
    };
    let thread = AdminThread::start(listener, state).context("cannot start the admin thread")?;
    if let Some(address) = address {
        tracing::info!(%address, "admin listening");
    }
    Ok(thread)
}
