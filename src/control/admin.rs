//! Starts the admin listener, and connects it with the control thread.

use std::{
    path::absolute,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Instant, SystemTime},
};

use anyhow::Context;
use tokio::sync::mpsc;

use super::proxy::Proxy;
use crate::{
    admin::{
        AdminListener, AdminState, AdminThread, FinishedReload, ReloadChannel, ReloadOutcome,
        ReloadRequest,
    },
    program_log::ProgramLog,
    session::Inspector,
    worker::Worker,
};

/// The most connections at a time: a thousand scrapers at once, and some dashboards.
const MAX_CONNECTIONS: u64 = 1100;

/// Connections may have one in so many of the process' descriptors.
const DESCRIPTORS_PER_CONNECTION: u64 = 16;

/// The most connections of the admin listener at a time, of so many descriptors.
pub(super) fn max_connections(descriptors: u64) -> u64 {
    (descriptors / DESCRIPTORS_PER_CONNECTION).clamp(16, MAX_CONNECTIONS)
}

/// The control thread's side of the reload channel.
pub(super) struct ReloadRequests {
    pub(super) requests: mpsc::Receiver<ReloadRequest>,
    last: Arc<Mutex<Option<FinishedReload>>>,
}

impl ReloadRequests {
    /// Records the outcome of a reload for the API, whatever asked for it.
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

/// Creates the reload channel.
pub(super) fn reload_channel() -> (ReloadChannel, ReloadRequests) {
    let last = Arc::default();
    let (sender, requests) = mpsc::channel(1);
    (ReloadChannel::new(sender, Arc::clone(&last)), ReloadRequests { requests, last })
}

/// The parts of the process that the admin listener shows.
pub(super) struct Shown<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) draining: &'a Arc<AtomicBool>,
    pub(super) log: ProgramLog,
    pub(super) reloads: ReloadChannel,
}

/// Starts the admin thread.
///
/// # Errors
/// If the thread or its event loop cannot be created.
pub(super) fn start(listener: AdminListener, shown: Shown<'_>) -> anyhow::Result<AdminThread> {
    let Shown { proxy, draining, log, reloads } = shown;
    let address = listener.local_addr();
    let state = AdminState {
        snapshot: proxy.current.clone(),
        workers: proxy.workers.len(),
        metrics: proxy.metrics.clone(),
        limiter: proxy.limiter.clone(),
        draining: draining.clone(),
        log,
        access_logs: proxy.logs.watch(),
        sessions: Inspector::new(
            proxy.workers.iter().map(Worker::asker).collect(),
            proxy.clients.clone(),
        ),
        reloads,
        config_file: absolute(&proxy.file).unwrap_or_else(|_| proxy.file.clone()),
        started: (SystemTime::now(), Instant::now()),
        max_connections: max_connections(proxy.descriptors.limit()) as usize,
    };
    let thread = AdminThread::start(listener, state).context("cannot start the admin thread")?;
    if let Some(address) = address {
        tracing::info!(%address, "admin listening");
    }
    Ok(thread)
}
