//! The configuration, validated: every value here is usable as it stands.

use std::{
    fmt,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::route::{Algorithm, EmptyClientId, KeyTemplate};

/// One whole configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    pub runtime: Runtime,
    /// Never empty; names are unique and binds do not overlap.
    pub listeners: Vec<Listener>,
    /// Never empty; names are unique.
    pub pools: Vec<Pool>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub drain: Drain,
    pub access_log: Vec<AccessLog>,
    pub log: Log,
    pub admin: Option<Admin>,
}

#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    /// Threads that carry sessions; `auto` is already resolved to the number of usable cores.
    pub workers: NonZeroUsize,
}

#[derive(Clone, Debug)]
pub struct Listener {
    pub name: Arc<str>,
    pub bind: Bind,
    /// Index into [`Config::pools`].
    pub pool: usize,
}

/// A local address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Pool {
    pub name: Arc<str>,
    pub balance: Balance,
    /// Never empty; names are unique in the pool.
    pub upstreams: Vec<Upstream>,
    pub connect_timeout: Duration,
    pub connack_timeout: Duration,
    /// The most brokers tried for one CONNECT.
    pub tries: NonZeroU32,
}

#[derive(Clone, Debug)]
pub struct Balance {
    pub algorithm: Algorithm,
    pub key: KeyTemplate,
    pub empty_client_id: EmptyClientId,
}

#[derive(Clone, Debug)]
pub struct Upstream {
    /// What is hashed: a changed address moves no client.
    pub name: Arc<str>,
    pub address: Address,
    pub weight: NonZeroU32,
    /// Sessions at a time; `None` is no limit.
    pub max_connections: Option<NonZeroU32>,
    pub backup: bool,
}

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Ip(SocketAddr),
    /// A host name, looked up at run time.
    Host(Arc<str>, u16),
    Unix(PathBuf),
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `None`: as many as the process' descriptors allow.
    pub max_connections: Option<NonZeroU32>,
    pub max_connections_per_ip: Option<NonZeroU32>,
    pub connects_per_ip: Option<Rate>,
    /// Bytes of a whole CONNECT packet, fixed header included.
    pub connect_packet: usize,
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Tokens a second.
    pub rate: NonZeroU32,
    /// The bucket's size; at least 1.
    pub burst: NonZeroU32,
}

#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From accept to the whole CONNECT.
    pub connect_packet: Duration,
    pub idle: Idle,
    pub half_close: Duration,
    pub tcp_keepalive: Duration,
    pub tcp_user_timeout: Duration,
}

/// When a session without traffic is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// 1.5 times the keep alive in force, and a few seconds.
    KeepAlive,
    After(Duration),
    Never,
}

#[derive(Clone, Copy, Debug)]
pub struct Drain {
    pub timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct AccessLog {
    pub path: PathBuf,
    pub format: LogLineFormat,
    pub when_full: WhenFull,
}

/// How an access log line looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogLineFormat {
    Json,
    Text,
    /// Text with `${field}` variables, the fields of the JSON form; checked when the file is read.
    Template(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Sessions wait for room: nothing is lost.
    Block,
    /// Lines are dropped and counted.
    Drop,
}

#[derive(Clone, Copy, Debug)]
pub struct Log {
    pub level: LogLevel,
    pub format: ProgramLogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramLogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub bind: Bind,
    /// The bearer token that `/metrics` asks for; read from `token_file`, which a bind that is not loopback needs.
    pub token: Option<Arc<str>>,
}
