//! The keys of the file itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    access_log::AccessLog,
    common::{Interval, List, empty},
    listener::Listener,
    pool::Pool,
    settings::{Admin, Dns, Drain, Limits, Log, Runtime, Timeouts, Upgrade},
};
use crate::config::{at::At, values::at_time};

/// The configuration of mqtt-lb: `listeners` and `pools` are required. Durations are 500ms, 10s, 5m
/// or 1h; sizes are 512, 64KiB or 1MiB. In every value but `balance.key` and the access log's
/// `format`, `${NAME}` stands for an environment variable, and `${NAME:-default}` for a default where
/// that is unset or empty. Relative paths are relative to the folder of the file.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Config {
    /// How the proxy runs.
    #[serde(default = "empty::<Runtime>")]
    pub(in crate::config) runtime: At<Runtime>,
    /// Where clients connect; at least one.
    #[schemars(length(min = 1))]
    pub(in crate::config) listeners: At<List<Listener>>,
    /// The brokers, in groups that listeners name; at least one.
    #[schemars(length(min = 1))]
    pub(in crate::config) pools: At<List<Pool>>,
    /// Whether certificates, keys, CAs, CRLs, JWK sets, lists and all other files that this one names
    /// are read again when they change, as SIGHUP does, once they have been unchanged for one
    /// `watch_interval`. This file is read again by SIGHUP only.
    #[serde(default = "watched")]
    pub(in crate::config) watch: At<bool>,
    /// How often the metadata of these files is read, 100ms to 24h.
    #[serde(default = "at_time::<2_000, Interval>")]
    pub(in crate::config) watch_interval: At<Interval>,
    /// What clients may use up.
    #[serde(default = "empty::<Limits>")]
    pub(in crate::config) limits: At<Limits>,
    /// How long things may take.
    #[serde(default = "empty::<Timeouts>")]
    pub(in crate::config) timeouts: At<Timeouts>,
    /// Where the addresses of brokers are looked up.
    #[serde(default = "empty::<Dns>")]
    pub(in crate::config) dns: At<Dns>,
    /// How a stopping proxy ends its sessions.
    #[serde(default = "empty::<Drain>")]
    pub(in crate::config) drain: At<Drain>,
    /// How the process before an upgrade ends the sessions that stay with it.
    #[serde(default = "empty::<Upgrade>")]
    pub(in crate::config) upgrade: At<Upgrade>,
    /// Access logs, each with its own place, format and events. Absent: no access log.
    #[serde(default)]
    pub(in crate::config) access_log: At<List<AccessLog>>,
    /// The program's own messages, on standard error.
    #[serde(default = "empty::<Log>")]
    pub(in crate::config) log: At<Log>,
    /// Metrics, health and the API over HTTP: /metrics, /livez, /readyz, /api/v1 and the dashboard.
    /// Absent: no admin listener.
    pub(in crate::config) admin: Option<At<Admin>>,
}

fn watched() -> At<bool> {
    At::default_of(true)
}
