//! A whole configuration.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use super::{
    AccessLog, Admin, Dns, Drain, Limits, Listener, Log, Pool, Quota, ReadFile, Runtime, Timeouts,
    Upgrade,
};

/// One whole configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    pub runtime: Runtime,
    /// Never empty; names are unique and binds do not overlap.
    pub listeners: Vec<Listener>,
    /// Never empty; names are unique.
    pub pools: Vec<Pool>,
    pub limits: Limits,
    /// Names are unique.
    pub quotas: Vec<Quota>,
    pub timeouts: Timeouts,
    pub dns: Dns,
    pub drain: Drain,
    pub upgrade: Upgrade,
    pub access_log: Vec<AccessLog>,
    pub log: Log,
    pub admin: Option<Admin>,
    /// Whether changed files are read again without a signal.
    pub watch: bool,
    /// How often their metadata is read.
    pub watch_interval: Duration,
    /// The files that it names, each once, as they were when they were read.
    pub(crate) files: Vec<ReadFile>,
    pub(super) source: Source,
    /// Keys of `limits` that have `ban_for` and no rate.
    pub(super) bans_without_rate: Vec<&'static str>,
    /// The file as YAML, with every default filled in.
    pub(super) effective: Text,
}

/// What a configuration was read from.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) text: Text,
}

/// A text that `Debug` leaves out: it says nothing that the other fields do not say.
#[derive(Clone, Default)]
pub(super) struct Text(pub(super) Arc<str>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(text)")
    }
}
