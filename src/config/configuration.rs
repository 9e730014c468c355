//! A whole configuration.

use std::{fmt, sync::Arc};

use super::{AccessLog, Admin, Dns, Drain, Limits, Listener, Log, Pool, Quota, Runtime, Timeouts};

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
    pub access_log: Vec<AccessLog>,
    pub log: Log,
    pub admin: Option<Admin>,
    /// Keys of `limits` that have `ban_for` and no rate.
    pub(super) bans_without_rate: Vec<&'static str>,
    /// The file as YAML, with every default filled in.
    pub(super) effective: Effective,
}

/// A text that `Debug` leaves out: it says nothing that the other fields do not say.
#[derive(Clone, Default)]
pub(super) struct Effective(pub(super) Arc<str>);

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(effective)")
    }
}
