//! The settings of the whole proxy.

use std::{
    fmt,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    thread,
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bind, Idle, Secret};
use crate::template::Template;

#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    pub workers: Workers,
}

/// The threads that carry sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// One for each usable core.
    #[default]
    Auto,
    Number(NonZeroUsize),
}

impl Workers {
    /// Their number; for `Auto`, the cores that are usable at this moment.
    pub fn count(self) -> NonZeroUsize {
        match self {
            Self::Auto => thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            Self::Number(number) => number,
        }
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `None`: as many as the process' descriptors allow.
    pub max_connections: Option<NonZeroU32>,
    pub max_connections_per_ip: Option<NonZeroU32>,
    pub connects_per_ip: Option<Rate>,
    pub handshakes_per_ip: Option<BanRate>,
    pub connects_per_client_id: Option<BanRate>,
    pub connects_per_username: Option<BanRate>,
    pub bad_credentials_per_ip: Option<BanRate>,
    /// The most bans at a time; at least 1.
    pub max_bans: u32,
    /// The length of the IPv6 prefix that counts as one address; 1 to 128.
    pub ipv6_prefix: u8,
    /// The longest CONNECT packet, in bytes, with its fixed header.
    pub connect_packet: usize,
    /// The longest packet, in bytes, that a broker may send before the relay: a CONNACK or an AUTH.
    pub connack_packet: usize,
}

impl Limits {
    /// Without optional limits.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self {
        max_connections: None,
        max_connections_per_ip: None,
        connects_per_ip: None,
        handshakes_per_ip: None,
        connects_per_client_id: None,
        connects_per_username: None,
        bad_credentials_per_ip: None,
        max_bans: 1000,
        ipv6_prefix: 64,
        connect_packet: 1024,
        connack_packet: 1024,
    };
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second.
    pub rate: NonZeroU32,
    /// The bucket's size; at least 1.
    pub burst: NonZeroU32,
}

/// A token bucket, and how long what empties it is banned; `None`: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRate {
    pub rate: Rate,
    /// 1 second to a year.
    pub ban_for: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the whole CONNECT.
    pub connect_packet: Duration,
    pub idle: Idle,
    pub half_close: Duration,
    pub tcp_keepalive: TcpKeepalive,
    pub tcp_user_timeout: TcpUserTimeout,
}

/// The keep-alive probes of TCP; durations are whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// From the last packet to the first probe.
    pub idle: Duration,
    /// From one probe to the next.
    pub interval: Duration,
    /// The lost probes after which the connection ends.
    pub count: u8,
}

impl TcpKeepalive {
    const DEFAULT_COUNT: u8 = 3;

    /// A sixth of `idle` between probes, from 1 to 15 seconds: within that time the network recovers
    /// from a lost packet, unless it is down.
    pub fn new(idle: Duration) -> Self {
        let interval = (idle.as_secs() / 6).clamp(1, 15);
        Self { idle, interval: Duration::from_secs(interval), count: Self::DEFAULT_COUNT }
    }

    /// The time from the last packet of a vanished peer to the end of its connection.
    pub fn found_after(self) -> Duration {
        self.idle + self.interval * self.count.into()
    }
}

/// How long sent bytes may stay unacknowledged before TCP gives up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpUserTimeout {
    /// As long as the keep-alive takes to end a connection; towards brokers 30 s at most.
    #[default]
    Auto,
    After(Duration),
}

/// The name servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Empty: /etc/hosts, then the servers of /etc/resolv.conf.
    pub servers: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// How long the process before an upgrade may keep its sessions.
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: ProgramLogFormat,
}

/// A limit on the sessions at a time with one value of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    pub name: Arc<str>,
    /// Clients for which it has no value are not counted.
    pub key: Template,
    pub max_connections: NonZeroU32,
}

/// The name of the quota that `limits.max_connections_per_username` is.
pub(crate) const USERNAME_QUOTA: &str = "max_connections_per_username";

/// The lowest severity of messages that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The format of the program log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgramLogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub bind: Bind,
    /// The bearer token of requests, from `token_file`, which a bind that is not loopback needs.
    pub token: Option<Secret>,
}
