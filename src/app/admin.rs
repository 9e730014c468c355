//! The admin listener: what it shows, and whom it asks.

use std::{
    path::{Path, absolute},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Instant, SystemTime},
};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::{
    admin::{
        AdminListener, AdminState, AdminThread, LastReload, ReloadOutcome, ReloadRequest, Reloads,
    },
    config::Config,
    observe::{Metrics, ProgramLog},
    session::{Gate, Inspector},
    snapshot::Snapshot,
};

/// Connections at a time: a thousand scrapers that come at once, and what dashboards have.
const CONNECTIONS: u64 = 1100;

/// The share of the process' descriptors that they may have; the clients' is the rest.
const SHARE: u64 = 16;

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

/// What the admin listener is told beside its configuration.
pub(super) struct About<'a> {
    pub(super) file: &'a Path,
    pub(super) snapshot: &'a Arc<ArcSwap<Snapshot>>,
    pub(super) metrics: &'a Metrics,
    pub(super) gate: &'a Arc<Gate>,
    pub(super) draining: &'a Arc<AtomicBool>,
    pub(super) log: &'a ProgramLog,
    pub(super) sessions: Inspector,
    pub(super) reloads: Reloads,
    /// The process' limit.
    pub(super) descriptors: u64,
    pub(super) connections_possible: u32,
}

/// Starts its thread.
pub(super) fn start(
    listener: AdminListener,
    config: &Config,
    about: About<'_>,
) -> anyhow::Result<AdminThread> {
    let address = listener.local_addr();
    let state = AdminState {
        snapshot: about.snapshot.clone(),
        metrics: about.metrics.clone(),
        gate: about.gate.clone(),
        draining: about.draining.clone(),
        log: about.log.clone(),
        sessions: about.sessions,
        reloads: about.reloads,
        token: config.admin.as_ref().and_then(|admin| admin.token.clone()),
        config_file: absolute(about.file).unwrap_or_else(|_| about.file.to_owned()),
        started: (SystemTime::now(), Instant::now()),
        connections_possible: about.connections_possible,
        connections: (about.descriptors / SHARE).clamp(16, CONNECTIONS) as usize,
    };
    let thread = AdminThread::start(listener, state).context("cannot start the admin thread")?;
    if let Some(address) = address {
        tracing::info!(%address, "admin listening");
    }
    Ok(thread)
}
