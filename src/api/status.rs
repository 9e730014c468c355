use std::{borrow::Cow, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    reload::{LastFileReload, LastReload},
    upgrade::LastUpgrade,
    value::{Counts, TRANSPORTS, Word},
};

/// The proxy as a whole.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Status {
    pub(crate) version: Cow<'static, str>,
    /// Its process ID.
    #[serde(default)]
    pub(crate) pid: u32,
    #[schemars(extend("format" = "date-time"))]
    pub(crate) started_at: String,
    /// Seconds since then.
    #[schemars(range(min = 0))]
    pub(crate) uptime_s: f64,
    /// Whether it should get new connections, as `/readyz` says.
    pub(crate) ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_ready: Option<Cow<'static, str>>,
    /// Worker threads.
    #[schemars(range(min = 1))]
    pub(crate) workers: usize,
    /// Absent before the first upgrade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_upgrade: Option<LastUpgrade>,
    pub(crate) config: ConfigInForce,
    pub(crate) descriptors: Descriptors,
    /// Connections of clients, including those in their handshake.
    pub(crate) connections_open: u32,
    /// In the order of the configuration.
    pub(crate) listeners: Vec<Listener>,
    /// In the order of the configuration, `max_connections_per_username` first.
    #[serde(default)]
    pub(crate) quotas: Vec<Quota>,
    /// Connections that ended since the start, by how they ended.
    pub(crate) ends: Vec<End>,
    /// Connections since the start that never became sessions, by cause.
    pub(crate) rejects: Counts,
    /// Lines of the access log lost since the start.
    pub(crate) access_log_dropped: u64,
}

/// The configuration in force.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ConfigInForce {
    pub(crate) file: String,
    /// 1 at the start, plus 1 with each reload that succeeds.
    #[schemars(range(min = 1))]
    pub(crate) generation: u64,
    #[schemars(extend("format" = "date-time"))]
    pub(crate) loaded_at: String,
    /// Absent before the first reload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_reload: Option<LastReload>,
    /// Files whose changes are noticed: those that the configuration names; 0 with `watch: false`.
    #[serde(default)]
    pub(crate) watched_files: usize,
    /// Absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_file_reload: Option<LastFileReload>,
}

/// File descriptors of the process.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Descriptors {
    pub(crate) used: u64,
    /// The soft limit (RLIMIT_NOFILE).
    pub(crate) limit: u64,
    /// Connections of clients that `limits.max_connections` and the descriptors allow.
    pub(crate) connections_possible: u32,
}

/// A listener for clients.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) bind: String,
    /// The first of `transports`.
    #[schemars(extend("enum" = TRANSPORTS))]
    pub(crate) transport: Word,
    /// The transports of its clients: two where `protocols` has both.
    #[schemars(length(min = 1), extend("items" = { "type": "string", "enum": TRANSPORTS }))]
    pub(crate) transports: Vec<Word>,
    pub(crate) pool: Arc<str>,
    /// Open now.
    pub(crate) connections_active: u64,
    /// Accepted since the start.
    pub(crate) connections_total: u64,
    /// Sessions since the start by protocol level: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0.
    #[schemars(extend("required" = ["3", "4", "5"]))]
    pub(crate) sessions_total: Counts,
}

/// A limit on connections by a template.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Quota {
    pub(crate) name: Arc<str>,
    /// For each key.
    #[schemars(range(min = 1))]
    pub(crate) max_connections: u32,
    /// Keys that have connections now.
    pub(crate) keys: usize,
    /// The keys with the most connections, at most five, the fullest first.
    pub(crate) fullest: Vec<QuotaKey>,
}

/// A key of a quota.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct QuotaKey {
    /// The value of the quota's template for some clients.
    pub(crate) key: Arc<str>,
    /// Open now, those that wait for a broker included.
    pub(crate) connections: u32,
}

/// How many connections ended in one way since the start.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct End {
    /// Who ended them.
    #[schemars(extend("enum" = ["client", "upstream", "proxy"]))]
    pub(crate) by: Word,
    #[schemars(extend("enum" = ["handshake", "connect", "dial", "connack", "relay"]))]
    pub(crate) phase: Word,
    /// As in the access log.
    pub(crate) cause: String,
    #[schemars(range(min = 1))]
    pub(crate) count: u64,
}
