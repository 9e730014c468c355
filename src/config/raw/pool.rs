//! The keys of a pool.

use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    common::{AnyTime, Interval, List, Port, Positive, empty},
    health::Health,
};
use crate::{
    balance::{Algorithm, EmptyClientId},
    config::{
        Address, OnDown,
        at::At,
        values::{
            AlpnName, DnsName, Factor, FilePath, Key, Limit, Name, Number, ServerName,
            SourceAddress, TemplateText, Time, TlvSelection, at_number, at_time,
        },
    },
    tls::{Pin, TlsVersion},
};

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Pool {
    /// The name of the pool, for listeners, the access log and metrics.
    pub(in crate::config) name: At<Name>,
    /// How a client's broker is chosen.
    #[serde(default = "empty::<Balance>")]
    pub(in crate::config) balance: At<Balance>,
    /// The brokers; required unless `discover` finds them.
    #[schemars(length(min = 1))]
    pub(in crate::config) upstreams: Option<At<List<Upstream>>>,
    /// Brokers from DNS, in addition to `upstreams` or instead of them. Absent: those of `upstreams`
    /// alone.
    pub(in crate::config) discover: Option<At<Discover>>,
    /// For all addresses of a broker: one in reach answers a connection attempt in milliseconds.
    /// Then the next broker is tried.
    #[serde(default = "at_time::<1_000, Time>")]
    pub(in crate::config) connect_timeout: At<Time>,
    /// How long a broker may take to its CONNACK: it may ask a database who the client is.
    #[serde(default = "at_time::<10_000, Time>")]
    pub(in crate::config) connack_timeout: At<Time>,
    /// The most brokers that one CONNECT is offered to.
    #[serde(default = "at_number::<3, Positive>")]
    pub(in crate::config) tries: At<Positive>,
    /// After which failures a CONNECT is offered to the next broker; the client sees the last answer
    /// only. By default all, since they say something of the broker and not of the client; [] never
    /// retries.
    #[serde(default = "all_reasons")]
    pub(in crate::config) retry_on: At<List<Reason>>,
    /// How brokers are found to be down.
    #[serde(default = "empty::<Health>")]
    pub(in crate::config) health: At<Health>,
    /// What becomes of the sessions of a broker that is found down by its checks, set down by the
    /// operator, or removed. With `close` they end, the oldest first, at rebalance.rate a second (100
    /// without); those whose broker is up again before their turn stay. With `keep` they go on.
    /// Ejection ends none.
    #[serde(default)]
    pub(in crate::config) on_down: At<OnDown>,
    /// Moves sessions back once a broker has returned, was added, drains or was removed. Absent:
    /// they stay until they end.
    pub(in crate::config) rebalance: Option<At<Rebalance>>,
    /// A broker that returns or is added takes a share of its clients that grows from nothing to all
    /// in this time, the same clients first in every proxy; `rebalance` waits for its end. It does
    /// not apply when the proxy starts. Absent: all of them at once.
    pub(in crate::config) slow_start: Option<At<Time>>,
    /// CONNECTs a second that this proxy gives each broker, for fleets that come back all at once.
    /// Absent: as many as come.
    pub(in crate::config) admission: Option<At<Admission>>,
    /// TLS to the brokers. Absent: none. All these files are read again when they change.
    pub(in crate::config) tls: Option<At<PoolTls>>,
    /// Local addresses to dial from, in turn; health checks too. Each has some 28,000 ports towards
    /// each broker's address (net.ipv4.ip_local_port_range), which is as many sessions: with more,
    /// give the host more addresses and list them all, up to 1000. A broker of the other family is
    /// dialled as if the list were empty. [] leaves the choice to the kernel, which takes one.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub(in crate::config) source_addresses: At<List<SourceAddress>>,
    /// Tells the brokers who their client is, by a PROXY header in front of each connection, that of
    /// checks included (except of type http, which has another port): `none`, `v1` (addresses) or
    /// `v2` (also the session's ID, and what TLS said of the client). Brokers that do not expect the
    /// header take it for a malformed CONNECT; those that do accept nothing else.
    #[serde(default = "empty::<SendProxyProtocol>")]
    #[schemars(schema_with = "version_or_section")]
    pub(in crate::config) send_proxy_protocol: At<SendProxyProtocol>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Balance {
    /// `rendezvous` moves no other broker's clients when one comes or goes; `ketama` places clients
    /// as nginx's `hash KEY consistent` does; `maglev` is for hundreds of brokers.
    /// `least_connections` and `round_robin` do not keep a client on its broker.
    #[serde(default)]
    pub(in crate::config) algorithm: At<Algorithm>,
    /// What is hashed: `client_id`, `username`, `source_ip`, `tls_cn` (the common name of the
    /// client's certificate), `sni` (the host it asks for), or a template such as
    /// "${username}/${client_id}". Clients with one ID and different usernames, tls_cn or sni are
    /// different ones where the key has these.
    #[serde(default)]
    pub(in crate::config) key: At<Key>,
    /// Where a client without an ID goes, which has no session to find again.
    #[serde(default)]
    pub(in crate::config) empty_client_id: At<EmptyClientId>,
    /// The most sessions of this proxy that a broker is given: so many times its fair share, by
    /// weight; 1.01 to 100. Further clients go to their next broker, so this trades some stickiness
    /// for an upper bound on the load. Absent: no bound.
    pub(in crate::config) bounded_load: Option<At<Factor>>,
}

/// Up to the width of a weight in a DNS SRV record (RFC 2782), where discovered weights come from.
pub(in crate::config) type Weight = Number<NonZeroU32, 1, 65_535>;

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Upstream {
    /// What is hashed: keep a broker's name when its address changes.
    pub(in crate::config) name: At<Name>,
    /// IP:PORT, "[IPV6]:PORT", HOST:PORT or unix:/PATH. Of a host, up to 16 addresses are tried.
    pub(in crate::config) address: At<Address>,
    /// Its share of the clients, relative to the other brokers' weights: 1 to 65535.
    #[serde(default = "at_number::<1, Weight>")]
    pub(in crate::config) weight: At<Weight>,
    /// Sessions at a time; 0 is no limit. Clients of a full broker go to their next one.
    #[serde(default)]
    pub(in crate::config) max_connections: At<Limit>,
    /// A backup serves only when no other broker can.
    #[serde(default)]
    pub(in crate::config) backup: At<bool>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Discover {
    /// The name that is looked up.
    pub(in crate::config) dns: At<DnsName>,
    /// With `srv` (RFC 2782) each target is a broker of that name, which keeps its clients when its
    /// address changes; where a target has several ports, they are TARGET:PORT. The lowest priority
    /// serves, the others are backups, and weight is weight. With `a` each address, A and AAAA, is a
    /// broker; sorted, they are named NAME#1, NAME#2, ... Up to 4096 are taken. A name that
    /// `upstreams` has is that broker's.
    #[serde(default, rename = "type")]
    pub(in crate::config) kind: At<DiscoverType>,
    /// The brokers' port: type `a` needs it. With `srv`, it replaces the records' own, where DNS has
    /// records of these hosts for another service only.
    pub(in crate::config) port: Option<At<Port>>,
    /// The longest time between two look-ups, 100ms to 24h; a shorter TTL shortens it. An answer that
    /// fails or is empty keeps the last one: a fault of DNS is not one of the brokers.
    #[serde(default = "at_time::<10_000, Interval>")]
    pub(in crate::config) interval: At<Interval>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum DiscoverType {
    #[default]
    Srv,
    A,
}

/// Why a CONNECT is offered to another broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Reason {
    /// Refused, or out of reach.
    ConnectFailure,
    /// Not connected within `connect_timeout`.
    ConnectTimeout,
    /// Closed, silent for `connack_timeout`, or not MQTT.
    NoConnack,
    /// Return code 3; MQTT 5.0: 0x88.
    ServerUnavailable,
    /// MQTT 5.0: 0x89, 0x97 and 0x9F.
    ServerBusy,
    /// MQTT 5.0: 0x9C and 0x9D. A Server Reference that names a broker of the pool is followed.
    UseAnotherServer,
}

fn all_reasons() -> At<List<Reason>> {
    let all = [
        Reason::ConnectFailure,
        Reason::ConnectTimeout,
        Reason::NoConnack,
        Reason::ServerUnavailable,
        Reason::ServerBusy,
        Reason::UseAnotherServer,
    ];
    At::default_of(all.into_iter().map(At::default_of).collect())
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Rebalance {
    /// Sessions a second that are closed because another broker is theirs now, the oldest first; 5.0
    /// clients are told by a DISCONNECT (0x9C). Slow enough for the brokers that they come to.
    pub(in crate::config) rate: At<Positive>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Admission {
    /// CONNECTs a second that each broker is given.
    pub(in crate::config) rate: At<Positive>,
    /// How many may come at once; 0 is as many as the rate.
    #[serde(default)]
    pub(in crate::config) burst: At<Limit>,
    /// The others queue, first come, first served. A client that has waited this long is refused:
    /// CONNACK 3, or 0x9F in MQTT 5.0. 0s lets nobody wait. Clients that hear nothing for much longer
    /// give up and come again; those that have left are out of the queue at once.
    #[serde(default = "at_time::<5_000, AnyTime>")]
    pub(in crate::config) max_wait: At<AnyTime>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PoolTls {
    /// Who has signed the brokers' certificates: CAs, PEM. Required without `pin`, as no CA is
    /// trusted that is not named; those of the web are in the system's
    /// /etc/ssl/certs/ca-certificates.crt.
    pub(in crate::config) ca: Option<At<FilePath>>,
    /// SHA-256 fingerprints in Base64 of the brokers' public keys or certificates, such as
    /// sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; `mqtt-lb pin HOST:PORT` prints them. A
    /// broker must have one of them. Without `ca` the pin alone decides: chain, names and expiry are
    /// not checked. With `ca` both must hold. Absent: `ca` alone decides.
    #[schemars(length(min = 1))]
    pub(in crate::config) pin: Option<At<List<Pin>>>,
    /// The name in the brokers' certificates. Absent: the host of each address, or its IP; a broker
    /// on a unix socket has none.
    pub(in crate::config) server_name: Option<At<ServerName>>,
    /// The proxy's own certificate, PEM, for brokers that ask for one. Absent: it has none.
    pub(in crate::config) cert: Option<At<FilePath>>,
    /// The key of `cert`, PEM, not encrypted.
    pub(in crate::config) key: Option<At<FilePath>>,
    /// The protocols that brokers are offered by ALPN, in order of preference, such as
    /// x-amzn-mqtt-ca. A broker that chooses none of them is used as well. Absent: none is offered.
    #[schemars(length(min = 1))]
    pub(in crate::config) alpn: Option<At<List<AlpnName>>>,
    /// true accepts any certificate of a broker, and needs no `ca`: for tests. Each start warns of it.
    #[serde(default)]
    pub(in crate::config) insecure_skip_verify: At<bool>,
    /// The lowest version of TLS that is spoken.
    #[serde(default)]
    pub(in crate::config) min_version: At<TlsVersion>,
}

/// A single value in its place is `version`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct SendProxyProtocol {
    /// `none`, `v1` or `v2`.
    #[serde(default)]
    pub(in crate::config) version: At<HeaderVersion>,
    /// What the header of version 2 gives as the common name of the client's certificate, such as
    /// "${tls_san_uri}"; nothing, if a variable has no value. Absent: the common name.
    pub(in crate::config) cn: Option<At<TemplateText>>,
    /// TLVs of the header that came in that are passed on in version 2, by their types, such as
    /// [0xEA, 0xE0]; `all` passes on those that the listener keeps (accept_proxy_protocol.tlvs), but
    /// for the types that the proxy writes itself. A header has up to 4096 bytes. Absent: none.
    pub(in crate::config) tlvs: Option<At<TlvSelection>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum HeaderVersion {
    #[default]
    None,
    V1,
    V2,
}

fn version_or_section(generator: &mut SchemaGenerator) -> Schema {
    let version = generator.subschema_for::<HeaderVersion>();
    let section = generator.subschema_for::<SendProxyProtocol>();
    json_schema!({ "anyOf": [version, section] })
}
