//! Access logs as configured: which lines, how they look, where they go.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The variables of an access log template: the fields of a record, and the time as nginx writes it.
pub const LOG_FIELDS: &[&str] = &[
    "time",
    "event",
    "session",
    "listener",
    "transport",
    "client",
    "peer",
    "proxy_tlvs",
    "tls_version",
    "tls_cipher",
    "sni",
    "tls_cn",
    "tls_san",
    "tls_serial",
    "tls_fingerprint",
    "path",
    "protocol_name",
    "protocol_version",
    "bridge",
    "client_id",
    "broker_client_id",
    "assigned_client_id",
    "username",
    "jwt_sub",
    "has_password",
    "clean_start",
    "keepalive",
    "will",
    "session_expiry",
    "connect_malformed",
    "pool",
    "rule",
    "upstream",
    "upstream_address",
    "route",
    "tries",
    "connack",
    "connack_reason",
    "connack_malformed",
    "session_present",
    "handshake_ms",
    "queue_ms",
    "dial_ms",
    "connack_ms",
    "duration_ms",
    "bytes_in",
    "bytes_out",
    "client_disconnect",
    "client_disconnect_reason",
    "broker_disconnect",
    "broker_disconnect_reason",
    "ban_kind",
    "ban_value",
    "ban_until",
    "ban_reason",
    "end_by",
    "end_phase",
    "end_cause",
    "detail",
    "time_local",
    "source_ip",
    "tls_san_dns",
    "tls_san_uri",
    "tls_san_email",
];

/// One access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// No two logs go to the same place.
    pub to: LogTarget,
    /// Of files only.
    pub rotate: Option<Rotate>,
    pub format: LogLineFormat,
    pub events: LogEvents,
    pub when_full: WhenFull,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    File(PathBuf),
    Stdout,
    Syslog(Syslog),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("/dev/stdout"),
            Self::Syslog(syslog) => syslog.to.fmt(f),
        }
    }
}

/// A syslog receiver, and what RFC 5424 wants to know about each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    pub to: SyslogAddress,
    /// 0 to 23: RFC 5424, 6.2.1, table 1.
    pub facility: u8,
    /// 0 to 7: RFC 5424, 6.2.1, table 2.
    pub severity: u8,
    /// 1 to 48 printable characters of ASCII.
    pub app_name: Arc<str>,
}

/// Where a syslog receiver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    Unix(PathBuf),
    /// `HOST:PORT`, looked up whenever it is connected to.
    Udp(Arc<str>),
    /// `HOST:PORT`, looked up whenever it is connected to.
    Tcp(Arc<str>),
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// When a file is renamed and a new one is begun; at least one of `size` and `age` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// The most bytes of a file.
    pub size: Option<u64>,
    /// The longest that a file is written.
    pub age: Option<Duration>,
    /// How many old files there are at most; from 1.
    pub keep: u32,
}

/// Which events are written; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEvents {
    pub connect: bool,
    pub disconnect: bool,
    pub reject: bool,
    pub probe: bool,
    pub ban: bool,
}

impl LogEvents {
    pub const NONE: Self =
        Self { connect: false, disconnect: false, reject: false, probe: false, ban: false };

    /// All but probes: balancers send one every few seconds.
    pub const DEFAULT: Self =
        Self { connect: true, disconnect: true, reject: true, probe: false, ban: true };
}

/// How an access log line looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogLineFormat {
    #[default]
    Json,
    Text,
    /// Text with `${field}` variables, the fields of the JSON form; checked when the file is read.
    Template(Arc<str>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Sessions wait for room: nothing is lost.
    #[default]
    Block,
    /// Lines are dropped and counted.
    Drop,
}
