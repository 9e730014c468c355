//! The configuration, validated: every value here is usable as it stands.

mod access_log;
mod access_log_keys;
mod cross;
mod fault;
mod health_keys;
mod keys;
mod listener;
mod pool;
mod pool_keys;
mod proxy_protocol_keys;
mod quantities;
mod secret;
mod section;
mod tls;
mod tree;
mod units;
mod values;
mod warnings;
mod websocket_keys;

use std::{
    env, fmt, fs,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

pub use access_log::{
    AccessLog, LOG_FIELDS, LogEvents, LogLineFormat, LogTarget, Rotate, Syslog, SyslogAddress,
    WhenFull,
};
pub use fault::{Fault, Faults};
pub use listener::{
    CertificateFile, ListenerTls, Networks, ProxyProtocolIn, RevocationFile, WebSocket,
};
pub use pool::{
    ActiveCheck, Address, Admission, Balance, Discover, Health, OnDown, Passive, Pool, PoolTls,
    Probe, ProxyProtocolOut, Records, RetryOn, Upstream,
};
pub use secret::Secret;
pub use values::is_name;

use fault::Position;
use section::{Item, Read, Reader, Section};
use tree::Value;

/// What an empty file is answered with.
const SMALLEST: &str = "{ listeners: [{ name: mqtt, bind: \"0.0.0.0:1883\", pool: brokers }], \
    pools: [{ name: brokers, upstreams: [{ name: broker-1, address: \"10.0.0.7:1883\" }] }] }";

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
    pub dns: Dns,
    pub drain: Drain,
    pub access_log: Vec<AccessLog>,
    pub log: Log,
    pub admin: Option<Admin>,
}

impl Config {
    /// Reads and checks a file, and the files and environment variables that it names.
    ///
    /// # Errors
    /// Every fault of the file, in its order.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        Self::parse(&text_of(path)?, path, &|name| env::var(name).ok())
    }

    /// Reads and checks the text of a file.
    ///
    /// `file` is the name in messages, and its folder the base of relative paths; `env` gives the
    /// values of environment variables.
    ///
    /// # Errors
    /// Every fault of the text, in its order.
    pub fn parse(
        text: &str,
        file: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Faults> {
        read(text, file, env, keys::config)
    }
}

impl Admin {
    /// Reads only how a proxy is administered, whatever else is wrong with its file. `None`: it is
    /// not. The token is left out unless it is wanted.
    ///
    /// # Errors
    /// Every fault of that part, or what keeps the file from being read at all.
    pub fn load(path: &Path, with_token: bool) -> Result<Option<Self>, Faults> {
        let env = |name: &str| env::var(name).ok();
        read(&text_of(path)?, path, &env, |file| keys::admin_alone(file, with_token))
    }
}

fn text_of(path: &Path) -> Result<String, Faults> {
    let whole = |at, message| Faults::from(Fault::new(path, at, "", message));
    let bytes = fs::read(path)
        .map_err(|error| whole(Position::START, format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        whole(Position::after(&before), "is not UTF-8 from here on".to_owned())
    })
}

fn read<T>(
    text: &str,
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    keys: impl FnOnce(&mut Section<'_>) -> Read<T>,
) -> Result<T, Faults> {
    // Editors of some systems put a byte order mark first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = tree::parse(text).map_err(|error| Fault::new(file, error.at, "", error.message))?;
    if matches!(root.value, Value::Null) {
        let message = format!("is empty; the smallest config is {SMALLEST}");
        return Err(Fault::new(file, root.at, "", message).into());
    }
    let reader = Reader::new(file, env);
    let item = Item { reader: &reader, path: String::new(), node: &root };
    let value = item.section(keys);
    let faults = reader.into_faults();
    match value {
        Ok(value) if faults.is_empty() => Ok(value),
        _ => Err(Faults::in_order(faults)),
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    pub workers: Workers,
}

/// Threads that carry sessions, as the file says it: what `auto` comes to depends on when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// As many as there are usable cores.
    Auto,
    Number(NonZeroUsize),
}

impl Workers {
    /// How many that are now.
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

#[derive(Clone, Debug)]
pub struct Listener {
    pub name: Arc<str>,
    pub bind: Bind,
    /// Index into [`Config::pools`].
    pub pool: usize,
    pub proxy_protocol: Option<ProxyProtocolIn>,
    pub tls: Option<ListenerTls>,
    pub websocket: Option<WebSocket>,
}

/// A local address to listen on. IPv6 is meant without IPv4 (IPV6_V6ONLY), so that `0.0.0.0:1883`
/// and `[::]:1883` can stand side by side.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `None`: as many as the process' descriptors allow.
    pub max_connections: Option<NonZeroU32>,
    pub max_connections_per_ip: Option<NonZeroU32>,
    pub connects_per_ip: Option<Rate>,
    /// The bits of an IPv6 address that count as one; 1 to 128.
    pub ipv6_prefix: u8,
    /// Bytes of a whole CONNECT packet, fixed header included.
    pub connect_packet: usize,
    /// Bytes of a whole packet that a broker sends before the relay: a CONNACK, or an AUTH.
    pub connack_packet: usize,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second.
    pub rate: NonZeroU32,
    /// The bucket's size; at least 1.
    pub burst: NonZeroU32,
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

/// When TCP asks a silent peer whether it is still there; in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// From the last packet to the first probe.
    pub idle: Duration,
    /// From one probe to the next.
    pub interval: Duration,
    /// Probes that are lost when the connection ends.
    pub count: u8,
}

impl TcpKeepalive {
    const DEFAULT_COUNT: u8 = 3;

    /// A sixth of `idle` between probes, 1 to 15 seconds: the network of one peer is asked, which
    /// has recovered from a lost packet by then, or has not.
    pub fn new(idle: Duration) -> Self {
        let interval = (idle.as_secs() / 6).clamp(1, 15);
        Self { idle, interval: Duration::from_secs(interval), count: Self::DEFAULT_COUNT }
    }

    /// From the last packet of a peer that has vanished to the connection's end.
    pub fn found_after(self) -> Duration {
        self.idle + self.interval * self.count.into()
    }
}

/// How long sent bytes may stay unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpUserTimeout {
    /// As long as the keep-alive takes; towards brokers 30 s at most.
    Auto,
    After(Duration),
}

/// When a session without traffic is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// 1.5 times the keep alive in force, and a few seconds.
    KeepAlive,
    After(Duration),
    Never,
}

/// Who is asked about host names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Empty: those of /etc/resolv.conf, and /etc/hosts before them.
    pub servers: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub bind: Bind,
    /// The bearer token that `/metrics` asks for; read from `token_file`, which a bind that is not loopback needs.
    pub token: Option<Secret>,
}
