//! The keys of the sections about the whole proxy.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    common::{AnyTime, List, Positive, empty},
    entries::ENTRIES_KEY,
};
use crate::config::{
    Bind, Idle, LogLevel, ProgramLogFormat, TcpUserTimeout, Workers,
    at::At,
    values::{
        FilePath, IpPort, Limit, Name, Number, Size, TemplateText, Time, YEAR, at_number, at_size,
        at_time,
    },
};

/// From what holds any client ID of 23 bytes, which every server takes (MQTT 3.1.1, 3.1.3.1), to
/// the longest packet there is: 5 bytes of fixed header and 268,435,455 more (MQTT 5.0, 2.1.4).
type Packet = Size<64, 268_435_460>;
type Ipv6Prefix = Number<u8, 1, 128>;
/// A ban takes up to 1.5 KiB.
type MaxBans = Number<u32, 1, 1_000_000>;
type BanTime = Time<1_000, YEAR>;

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Runtime {
    /// Threads that carry sessions, each with an event loop and sockets of its own: `auto`, one for
    /// each usable core, or 1 to 1024.
    #[serde(default)]
    pub(in crate::config) workers: At<Workers>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// Connections at a time; 0 is as many as the process' file descriptors allow, which is the
    /// upper bound of any other number, too.
    #[serde(default)]
    pub(in crate::config) max_connections: At<Limit>,
    /// Connections at a time from one address, counted from accept on, or from the PROXY header or
    /// X-Forwarded-For on. A tenth more are answered with a refusal, the rest are closed at once. A
    /// client's own older session does not count. 0 is no limit, as whole sites share one address.
    #[serde(default)]
    pub(in crate::config) max_connections_per_ip: At<Limit>,
    /// Sessions at a time with one username, as the broker sees it. More are refused: 0x97 in MQTT
    /// 5.0, 3 before. A client's own older session does not count, nor do usernames that are tokens.
    /// 0 is no limit.
    #[serde(default)]
    pub(in crate::config) max_connections_per_username: At<Limit>,
    /// Further limits on sessions, by texts with variables, such as one for each tenant.
    #[serde(default)]
    pub(in crate::config) quotas: At<List<Quota>>,
    /// New connections a second from one address, counted like the connections.
    #[serde(default = "empty::<ConnectRate>")]
    pub(in crate::config) connects_per_ip: At<ConnectRate>,
    /// New connections a second from one address, counted like the connections and before TLS. Those
    /// beyond it are closed at once, without an answer.
    #[serde(default = "empty::<BanRate>")]
    pub(in crate::config) handshakes_per_ip: At<BanRate>,
    /// CONNECTs a second with one client ID, as the broker is sent it, once the listener has checked
    /// the client's identity. Those beyond it are refused (server busy). Assigned IDs do not count.
    #[serde(default = "empty::<BanRate>")]
    pub(in crate::config) connects_per_client_id: At<BanRate>,
    /// CONNECTs a second with one username, counted like those with one client ID.
    #[serde(default = "empty::<BanRate>")]
    pub(in crate::config) connects_per_username: At<BanRate>,
    /// Failed logins a second from one address: CONNACKs of brokers with code 4 or 5, or 0x86 or 0x87
    /// in MQTT 5.0; refusals by `require` and `authenticate`; client certificates that are missing,
    /// of an unknown CA, expired or revoked. Once the burst is used up, further connections of the
    /// address are closed at once until the rate allows another failure, or until the ban ends.
    #[serde(default = "empty::<BanRate>")]
    pub(in crate::config) bad_credentials_per_ip: At<BanRate>,
    /// How many addresses, client IDs and usernames are banned at a time. When it is reached, the
    /// automatic ban that ends first makes room for the next one.
    #[serde(default = "at_number::<100_000, MaxBans>")]
    pub(in crate::config) max_bans: At<MaxBans>,
    /// The bits of an IPv6 address that make one address for the limits and bans by address, 1 to
    /// 128: a host has at least a /64.
    #[serde(default = "at_number::<64, Ipv6Prefix>")]
    pub(in crate::config) ipv6_prefix: At<Ipv6Prefix>,
    /// The longest CONNECT packet, which is what a client can make the proxy hold before it has
    /// shown who it is: 64 bytes to 268435460, the longest packet of MQTT. It also bounds what is
    /// held of unfinished messages of a TLS handshake, to between 18 KiB and 128 KiB.
    #[serde(default = "at_size::<64, Packet>")]
    pub(in crate::config) connect_packet: At<Packet>,
    /// The longest packet that a broker may send before a session begins: its CONNACK, or an AUTH of
    /// MQTT 5.0. 64 bytes to 268435460.
    #[serde(default = "at_size::<256, Packet>")]
    pub(in crate::config) connack_packet: At<Packet>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Quota {
    /// The name of the quota in the access log and in metrics; unique.
    pub(in crate::config) name: At<Name>,
    /// What is counted: text with variables, such as "${sni}" or "${jwt.tenant}". The client ID and
    /// the username are those that the broker will see. Clients for which a variable has no value
    /// are not counted.
    pub(in crate::config) key: At<TemplateText>,
    /// Sessions at a time with one value of the key.
    pub(in crate::config) max_connections: At<Positive>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ConnectRate {
    /// New connections a second; 0 is no limit. A tenth as many again are answered with a refusal.
    #[serde(default)]
    pub(in crate::config) rate: At<Limit>,
    /// How many may come at once; 0 is as many as the rate.
    #[serde(default)]
    pub(in crate::config) burst: At<Limit>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct BanRate {
    /// How many a second; 0 is no limit.
    #[serde(default)]
    pub(in crate::config) rate: At<Limit>,
    /// How many may come at once; 0 is as many as the rate.
    #[serde(default)]
    pub(in crate::config) burst: At<Limit>,
    /// How long what exceeds the rate is banned: 1s to 8760h. A ban also ends the sessions that
    /// exist. Absent: no ban.
    pub(in crate::config) ban_for: Option<At<BanTime>>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Timeouts {
    /// From the accepted connection to the whole CONNECT: long enough for a cellular link, short
    /// enough that silent connections do not pile up.
    #[serde(default = "at_time::<10_000, Time>")]
    pub(in crate::config) connect_packet: At<Time>,
    /// When a session without traffic is closed: `keepalive` (1.5 times the client's keep alive, as
    /// brokers do, and a little more so that the broker acts first), a duration, or `none`. A keep
    /// alive that a client of EMQX changes while it is connected, by a PUBLISH to
    /// `$SETOPTS/mqtt/keepalive`, applies from then on. Once the client has sent bulk data, which the
    /// kernel moves, such changes are not seen, and the longest limit so far applies. Changes by
    /// other means are never seen (EMQX's dashboard and API, `$SETOPTS/mqtt/keepalive-bulk`): use
    /// `none` or a duration longer than 1.5 times the longest keep alive, for a listener by its own
    /// `timeouts`.
    #[serde(default)]
    pub(in crate::config) idle: At<Idle>,
    /// How long one side may go on sending after the other has finished; 0s closes both at once.
    #[serde(default = "at_time::<30_000, AnyTime>")]
    pub(in crate::config) half_close: At<AnyTime>,
    /// When a silent TCP connection is probed: the time to the first probe, or a mapping.
    #[serde(default = "empty::<TcpKeepalive>")]
    #[schemars(schema_with = "duration_or_section")]
    pub(in crate::config) tcp_keepalive: At<TcpKeepalive>,
    /// How long sent bytes may stay unacknowledged before TCP gives up, or a peer may read nothing
    /// while bytes wait for it: 1ms to 596h. Linux ends a silent connection at the first probe that
    /// is lost after this time, whatever the count. So `auto` is, towards clients, idle + count x
    /// interval of `tcp_keepalive`; towards brokers the same, but no more than 30s.
    #[serde(default)]
    pub(in crate::config) tcp_user_timeout: At<TcpUserTimeout>,
}

/// TCP_KEEPIDLE and TCP_KEEPINTVL take 1 to 32,767 seconds: tcp(7), MAX_TCP_KEEPIDLE.
type Seconds = Time<1_000, 32_767_000>;
type ProbeCount = Number<u8, 1, 127>;

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TcpKeepalive {
    /// From the last packet to the first probe: 1s to 32767s, in whole seconds.
    #[serde(default = "at_time::<60_000, Seconds>")]
    pub(in crate::config) idle: At<Seconds>,
    /// From one probe to the next: 1s to 32767s. Absent: a sixth of idle, 1s to 15s.
    pub(in crate::config) interval: Option<At<Seconds>>,
    /// How many probes are lost when the connection ends: 1 to 127 (MAX_TCP_KEEPCNT).
    #[serde(default = "at_number::<3, ProbeCount>")]
    pub(in crate::config) count: At<ProbeCount>,
}

/// Sections in whose place a single value or a list may be written.
pub(in crate::config) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm { section: "TcpKeepalive", key: "idle", value: "a duration", takes_lists: false },
    ShortForm {
        section: "SendProxyProtocol",
        key: "version",
        value: "none, v1, v2",
        takes_lists: false,
    },
    ShortForm { section: "ListenerTls", key: "mode", value: "passthrough", takes_lists: false },
    ShortForm {
        section: "Entries",
        key: ENTRIES_KEY,
        value: "a value, a list of values",
        takes_lists: true,
    },
];

/// A single value, or a list, in place of a section.
pub(in crate::config) struct ShortForm {
    pub(in crate::config) section: &'static str,
    /// The key that it sets.
    pub(in crate::config) key: &'static str,
    /// What it is, for messages.
    pub(in crate::config) value: &'static str,
    pub(in crate::config) takes_lists: bool,
}

fn duration_or_section(generator: &mut SchemaGenerator) -> Schema {
    let duration = generator.subschema_for::<Seconds>();
    let section = generator.subschema_for::<TcpKeepalive>();
    json_schema!({ "anyOf": [duration, section] })
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Dns {
    /// IP:PORT each, asked by UDP, or by TCP for long answers; names are then taken as they are
    /// written. Absent: the name servers of /etc/resolv.conf, with its search list, and /etc/hosts
    /// first.
    #[schemars(length(min = 1))]
    pub(in crate::config) servers: Option<At<List<IpPort>>>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Drain {
    /// A stopping proxy ends its sessions evenly over this time, the oldest first; 0s ends all at
    /// once.
    #[serde(default = "at_time::<30_000, AnyTime>")]
    pub(in crate::config) timeout: At<AnyTime>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Upgrade {
    /// How long the process before an upgrade may keep the sessions that cannot move to the new one.
    /// It ends them evenly over the last part of this time, as long as `drain.timeout`; 0s ends all
    /// at once.
    #[serde(default = "at_time::<3_600_000, AnyTime>")]
    pub(in crate::config) timeout: At<AnyTime>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Log {
    /// The least severe messages that are written.
    #[serde(default)]
    pub(in crate::config) level: At<LogLevel>,
    /// How messages look.
    #[serde(default)]
    pub(in crate::config) format: At<ProgramLogFormat>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Admin {
    /// IP:PORT, "[IPV6]:PORT" or unix:/PATH. An address that other hosts can reach needs a
    /// `token_file`.
    pub(in crate::config) bind: At<Bind>,
    /// A file with the bearer token that everything asks for but /livez, /readyz and the dashboard's
    /// own files. Absent: no token.
    pub(in crate::config) token_file: Option<At<FilePath>>,
}
