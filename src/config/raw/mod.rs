//! Every key of the file, with its documentation and its default.
//!
//! The comments of the keys are for operators: they are the descriptions of the JSON schema and of
//! the manual page mqtt-lb.yaml(5).

mod access_log;
mod health;
mod listener;
mod pool;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::value::MapDeserializer,
};

use super::{
    Bind, LogLevel, ProgramLogFormat,
    at::At,
    values::{
        EITHER, Either, FilePath, HOUR, IpPort, Number, Size, Time, Words, YEAR, at_number,
        at_size, at_time,
    },
};

pub(super) use access_log::{AccessLog, Event, Rotate, Syslog};
pub(super) use health::{Active, CheckType, Code, Health, Passive};
pub(super) use listener::{
    AcceptProxyProtocol, Certificate, ClientAuth, Listener, ListenerTls, TlsVersion, WebSocket,
};
pub(super) use pool::{
    Admission, Balance, Discover, DiscoverType, Pool, PoolTls, Reason, Rebalance,
    SendProxyProtocol, Upstream,
};

/// Keys that a section does not have with this `type`: section, type, keys.
pub(super) const KEYS_OF_OTHER_TYPES: &[(&str, &str, &[&str])] = &[
    ("Active", "tcp", &["username", "password_file", "expect", "port", "path"]),
    ("Active", "mqtt", &["port", "path"]),
];

/// A list with at least one entry.
pub(super) type List<T> = Vec<At<T>>;

/// `0` is no limit.
pub(super) type Limit = Number<0, { u32::MAX as u64 }>;
pub(super) type Positive = Number<1, { u32::MAX as u64 }>;
pub(super) type Percent = Number<0, 100>;
pub(super) type Port = Number<1, 65_535>;
/// 0s is allowed.
pub(super) type AnyTime = Time<0, YEAR>;
/// More than ten a second would be an attack on what is asked.
pub(super) type Interval = Time<100, { 24 * HOUR }>;
/// From what holds any client ID of 23 bytes, which every server takes (MQTT 3.1.1, 3.1.3.1), to
/// the longest packet there is: 5 bytes of fixed header and 268,435,455 more (MQTT 5.0, 2.1.4).
type Packet = Size<64, 268_435_460>;

/// The configuration of mqtt-lb: `listeners` and `pools` are required. Durations are 500ms, 10s, 5m
/// or 1h; sizes are 512, 64KiB or 1MiB. In every value but `balance.key` and the access log's
/// `format`, `${NAME}` stands for an environment variable, and `${NAME:-default}` for a default where
/// that is unset or empty. Relative paths are relative to the folder of the file.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// How the proxy runs.
    #[serde(default = "empty::<Runtime>")]
    pub(super) runtime: At<Runtime>,
    /// Where clients connect; at least one.
    #[schemars(length(min = 1))]
    pub(super) listeners: At<List<Listener>>,
    /// The brokers, in groups that listeners name; at least one.
    #[schemars(length(min = 1))]
    pub(super) pools: At<List<Pool>>,
    /// What clients may use up.
    #[serde(default = "empty::<Limits>")]
    pub(super) limits: At<Limits>,
    /// How long things may take.
    #[serde(default = "empty::<Timeouts>")]
    pub(super) timeouts: At<Timeouts>,
    /// Where the addresses of brokers are looked up.
    #[serde(default = "empty::<Dns>")]
    pub(super) dns: At<Dns>,
    /// How a stopping proxy ends its sessions.
    #[serde(default = "empty::<Drain>")]
    pub(super) drain: At<Drain>,
    /// Access logs, each with its own place, format and events. Absent: no access log.
    #[serde(default)]
    pub(super) access_log: At<List<AccessLog>>,
    /// The program's own messages, on standard error.
    #[serde(default = "empty::<Log>")]
    pub(super) log: At<Log>,
    /// Metrics, health and the API over HTTP: /metrics, /livez, /readyz, /api/v1 and the dashboard.
    /// Absent: no admin listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<At<Admin>>,
}

/// The section of a file with all of its keys absent.
fn empty<T: DeserializeOwned>() -> At<T> {
    let nothing =
        MapDeserializer::<_, serde::de::value::Error>::new(std::iter::empty::<((), ())>());
    T::deserialize(nothing).map_or(At::MISSING, At::default_of)
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Runtime {
    /// Threads that carry sessions, each with an event loop and sockets of its own: `auto`, one for
    /// each usable core, or 1 to 1024.
    #[serde(default = "auto_workers")]
    pub(super) workers: At<Either<Auto, Workers>>,
}

/// The most CPUs that a glibc CPU set names (CPU_SETSIZE).
pub(super) type Workers = Number<1, 1024>;

fn auto_workers() -> At<Either<Auto, Workers>> {
    At::default_of(Either::Word(Auto::Auto))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Auto {
    Auto,
}

impl Words for Auto {
    const WORDS: &'static [&'static str] = &["auto"];
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Connections at a time; 0 is as many as the process' file descriptors allow, which is the
    /// upper bound of any other number, too.
    #[serde(default = "at_number::<0, 0, { u32::MAX as u64 }>")]
    pub(super) max_connections: At<Limit>,
    /// Connections at a time from one address, counted from accept on, or from the PROXY header or
    /// X-Forwarded-For on. A tenth more are answered with a refusal, the rest are closed at once. A
    /// client's own older session does not count. 0 is no limit, as whole sites share one address.
    #[serde(default = "at_number::<0, 0, { u32::MAX as u64 }>")]
    pub(super) max_connections_per_ip: At<Limit>,
    /// New connections a second from one address, counted like the connections.
    #[serde(default = "empty::<ConnectRate>")]
    pub(super) connects_per_ip: At<ConnectRate>,
    /// The bits of an IPv6 address that make one address for these two limits, 1 to 128: a host has
    /// at least a /64.
    #[serde(default = "at_number::<64, 1, 128>")]
    pub(super) ipv6_prefix: At<Number<1, 128>>,
    /// The longest CONNECT packet, which is what a client can make the proxy hold before it has
    /// shown who it is: 64 bytes to 268435460, the longest packet of MQTT. It also bounds what is
    /// held of unfinished messages of a TLS handshake, to between 18 KiB and 128 KiB.
    #[serde(default = "at_size::<64, 64, 268_435_460>")]
    pub(super) connect_packet: At<Packet>,
    /// The longest packet that a broker may send before a session begins: its CONNACK, or an AUTH of
    /// MQTT 5.0. 64 bytes to 268435460.
    #[serde(default = "at_size::<256, 64, 268_435_460>")]
    pub(super) connack_packet: At<Packet>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectRate {
    /// New connections a second; 0 is no limit. A tenth as many again are answered with a refusal.
    #[serde(default = "at_number::<0, 0, { u32::MAX as u64 }>")]
    pub(super) rate: At<Limit>,
    /// How many may come at once; 0 is as many as the rate.
    #[serde(default = "at_number::<0, 0, { u32::MAX as u64 }>")]
    pub(super) burst: At<Limit>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeouts {
    /// From the accepted connection to the whole CONNECT: long enough for a cellular link, short
    /// enough that silent connections do not pile up.
    #[serde(default = "at_time::<10_000, 1, YEAR>")]
    pub(super) connect_packet: At<Time>,
    /// When a session without traffic is closed: `keepalive` (1.5 times the client's keep alive, as
    /// brokers do, and a little more so that the broker acts first), a duration, or `none`.
    #[serde(default = "keepalive")]
    pub(super) idle: At<Either<IdleWord, Time>>,
    /// How long one side may go on sending after the other has finished; 0s closes both at once.
    #[serde(default = "at_time::<30_000, 0, YEAR>")]
    pub(super) half_close: At<AnyTime>,
    /// When a silent TCP connection is probed: the time to the first probe, or a mapping.
    #[serde(default)]
    pub(super) tcp_keepalive: At<TcpKeepalive>,
    /// How long sent bytes may stay unacknowledged before TCP gives up, or a peer may read nothing
    /// while bytes wait for it: 1ms to 596h. Linux ends a silent connection at the first probe that
    /// is lost after this time, whatever the count. So `auto` is, towards clients, idle + count x
    /// interval of `tcp_keepalive`; towards brokers the same, but no more than 30s.
    #[serde(default = "auto_user_timeout")]
    pub(super) tcp_user_timeout: At<Either<Auto, UserTimeout>>,
}

/// TCP_USER_TIMEOUT is a signed 32-bit number of milliseconds in the kernel, 0 meaning "unset".
pub(super) type UserTimeout = Time<1, { 596 * HOUR }>;

fn auto_user_timeout() -> At<Either<Auto, UserTimeout>> {
    At::default_of(Either::Word(Auto::Auto))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdleWord {
    Keepalive,
    None,
}

impl Words for IdleWord {
    const WORDS: &'static [&'static str] = &["keepalive", "none"];
}

fn keepalive() -> At<Either<IdleWord, Time>> {
    At::default_of(Either::Word(IdleWord::Keepalive))
}

/// TCP_KEEPIDLE and TCP_KEEPINTVL take 1 to 32,767 seconds: tcp(7), MAX_TCP_KEEPIDLE.
pub(super) type Seconds = Time<1_000, 32_767_000>;

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Keepalive {
    /// From the last packet to the first probe: 1s to 32767s, in whole seconds.
    #[serde(default = "at_time::<60_000, 1_000, 32_767_000>")]
    pub(super) idle: At<Seconds>,
    /// From one probe to the next: 1s to 32767s. Absent: a sixth of idle, 1s to 15s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<At<Seconds>>,
    /// How many probes are lost when the connection ends: 1 to 127 (MAX_TCP_KEEPCNT).
    #[serde(default = "at_number::<3, 1, 127>")]
    pub(super) count: At<Number<1, 127>>,
}

/// A mapping, of which one duration is a short form.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct TcpKeepalive(pub(super) Keepalive);

impl Default for TcpKeepalive {
    fn default() -> Self {
        Self::after(at_time::<60_000, 1_000, 32_767_000>())
    }
}

impl TcpKeepalive {
    fn after(idle: At<Seconds>) -> Self {
        Self(Keepalive { idle, interval: None, count: at_number::<3, 1, 127>() })
    }
}

/// What each version of MQTT can say is left to the section.
struct TcpKeepaliveVisitor;

impl<'de> serde::de::Visitor<'de> for TcpKeepaliveVisitor {
    type Value = TcpKeepalive;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a duration, or a mapping of keys to values")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TcpKeepalive, E> {
        let idle = Seconds::deserialize(serde::de::value::StrDeserializer::new(text))?;
        Ok(TcpKeepalive::after(At::default_of(idle)))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        section: D,
    ) -> Result<TcpKeepalive, D::Error> {
        Keepalive::deserialize(section).map(TcpKeepalive)
    }
}

impl<'de> Deserialize<'de> for TcpKeepalive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(EITHER, TcpKeepaliveVisitor)
    }
}

impl JsonSchema for TcpKeepalive {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TcpKeepalive".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let duration = generator.subschema_for::<Seconds>();
        let section = generator.subschema_for::<Keepalive>();
        schemars::json_schema!({ "anyOf": [duration, section] })
    }
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Dns {
    /// IP:PORT each, asked by UDP, or by TCP for long answers; names are then taken as they are
    /// written. Absent: the name servers of /etc/resolv.conf, with its search list, and /etc/hosts
    /// first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(super) servers: Option<At<List<IpPort>>>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    /// A stopping proxy ends its sessions evenly over this time, the oldest first; 0s ends all at
    /// once.
    #[serde(default = "at_time::<30_000, 0, YEAR>")]
    pub(super) timeout: At<AnyTime>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// The least severe messages that are written.
    #[serde(default)]
    pub(super) level: At<LogLevel>,
    /// How messages look.
    #[serde(default)]
    pub(super) format: At<ProgramLogFormat>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    /// IP:PORT, "[IPV6]:PORT" or unix:/PATH. An address that other hosts can reach needs a
    /// `token_file`.
    pub(super) bind: At<Bind>,
    /// A file with the bearer token that everything asks for but /livez, /readyz and the dashboard's
    /// own files. Absent: no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<At<FilePath>>,
}
