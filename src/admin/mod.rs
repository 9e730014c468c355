//! The admin listener: health, metrics, the API and its dashboard over HTTP, on a thread of its own.

mod answer;
mod body;
mod budget;
mod guard;
mod health;
mod json;
mod listener;
mod log;
mod page;
mod places;
mod reload;
mod request;
mod route;
mod routes;
mod scrape;
mod served;
mod server;
mod session_page;
mod session_view;
mod sessions;
mod status;
mod upstreams;
mod write_timeout;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwap;

pub use listener::{AdminListener, BindError};
pub use reload::{LastReload, ReloadOutcome, ReloadRequest, Reloads};
pub use server::AdminThread;

use crate::{
    access_log::BlockedLogs, config::Secret, limits::ConnectionLimiter, metrics::Metrics,
    program_log::ProgramLog, session::Inspector, snapshot::Snapshot,
};

/// What the admin listener tells and does.
pub struct AdminState {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// How many there are, which no reload changes.
    pub workers: usize,
    pub metrics: Metrics,
    pub limiter: Arc<ConnectionLimiter>,
    /// Set once the proxy takes no new connections.
    pub draining: Arc<AtomicBool>,
    pub log: ProgramLog,
    pub blocked_logs: BlockedLogs,
    pub sessions: Inspector,
    pub reloads: Reloads,
    /// Where the configuration came from.
    pub config_file: PathBuf,
    pub started: (SystemTime, Instant),
    /// Connections of its own at a time; the ones that are used the least make room for more.
    pub connections: usize,
}

impl AdminState {
    /// The bearer token (RFC 6750) that all asks for but health and the dashboard's own files.
    fn token(&self) -> Option<Secret> {
        self.snapshot.load().config.admin.as_ref()?.token.clone()
    }
}

#[cfg(test)]
mod tests;
