use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwap;

use super::{reload_channel::ReloadChannel, upgrade_channel::UpgradeChannel};
use crate::{
    access_log::BlockedLogs, config::Secret, limits::ConnectionLimiter, metrics::Metrics,
    program_log::ProgramLog, session::Inspector, snapshot::Snapshot,
};

/// The parts of the proxy that the admin listener shows and changes.
pub(crate) struct AdminState {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Worker threads; fixed until the process ends.
    pub(crate) workers: usize,
    pub(crate) metrics: Metrics,
    pub(crate) limiter: Arc<ConnectionLimiter>,
    /// Set once the proxy accepts no more connections.
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) log: ProgramLog,
    pub(crate) blocked_logs: BlockedLogs,
    pub(crate) sessions: Inspector,
    pub(crate) reloads: ReloadChannel,
    pub(crate) upgrades: UpgradeChannel,
    /// The path of the configuration file.
    pub(crate) config_file: PathBuf,
    /// When the process started.
    pub(crate) started: (SystemTime, Instant),
    /// The most connections of the admin listener at a time; beyond it, the least used one is
    /// closed for each new one.
    pub(crate) max_connections: usize,
}

impl AdminState {
    /// The bearer token (RFC 6750) that every request needs, except those for health and for the
    /// dashboard's files. `None` if the configuration has none.
    pub(super) fn token(&self) -> Option<Secret> {
        self.snapshot.load().config.admin.as_ref()?.token.clone()
    }
}
