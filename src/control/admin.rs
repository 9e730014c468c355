//! The admin listener: what it shows, and whom it asks.

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
        AdminListener, AdminState, AdminThread, LastReload, ReloadOutcome, ReloadRequest, Reloads,
    },
    program_log::ProgramLog,
    session::Inspector,
    worker::Worker,
};

/// Connections at a time: a thousand scrapers that come at once, and what dashboards have.
const CONNECTIONS: u64 = 1100;

/// The share of the process' descriptors that they may have.
const SHARE: u64 = 16;

/// The admin listener's connections at a time, of so many descriptors.
pub(super) fn connections(descriptors: u64) -> u64 {
    (descriptors / SHARE).clamp(16, CONNECTIONS)
}

/// What is reloaded by way of the API, as the control thread has it.
pub(super) struct ReloadsAsked {
    pub(super) requests: mpsc::Receiver<ReloadRequest>,
    last: Arc<Mutex<Option<LastReload>>>,
}

impl ReloadsAsked {
    /// Has the API tell how a reload went, whoever asked for it.
    pub(super) fn note(&self, outcome: &ReloadOutcome) {
        let (outcome, faults) = match outcome {
            ReloadOutcome::Applied { .. } => ("applied", Vec::new()),
            ReloadOutcome::Refused { faults } => ("refused", faults.clone()),
            ReloadOutcome::Draining => return,
        };
        let last = LastReload { at: SystemTime::now(), outcome, faults };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

/// The ends of what the API and the control thread have to say to each other.
pub(super) fn reloads() -> (Reloads, ReloadsAsked) {
    let last = Arc::default();
    let (asked, requests) = mpsc::channel(1);
    (Reloads::new(asked, Arc::clone(&last)), ReloadsAsked { requests, last })
}

/// What the admin listener is to know.
pub(super) struct About<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) draining: &'a Arc<AtomicBool>,
    pub(super) log: ProgramLog,
    pub(super) reloads: Reloads,
}

/// Starts its thread.
pub(super) fn start(listener: AdminListener, about: About<'_>) -> anyhow::Result<AdminThread> {
    let About { proxy, draining, log, reloads } = about;
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
        connections: connections(proxy.descriptors.limit()) as usize,
    };
    let thread = AdminThread::start(listener, state).context("cannot start the admin thread")?;
    if let Some(address) = address {
        tracing::info!(%address, "admin listening");
    }
    Ok(thread)
}
