//! One pool of the file: brokers, how they are chosen, and what happens when they fail.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CertificateFile, ProxyProtocolOut, Rate, ReadFile, Secret, TlsFileWarning};
use crate::{
    balance::{Algorithm, EmptyClientId, KeyTemplate},
    template::{Template, Variable},
};

#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub name: Arc<str>,
    pub balance: Balance,
    /// Names are unique in the pool; empty only where `discover` finds the brokers.
    pub upstreams: Vec<Upstream>,
    pub discover: Option<Discover>,
    pub connect_timeout: Duration,
    pub connack_timeout: Duration,
    /// The most brokers tried for one CONNECT.
    pub tries: NonZeroU32,
    pub retry_on: RetryOn,
    pub health: Health,
    pub on_down: OnDown,
    /// Sessions a second that are moved to a broker that has returned; `None`: they stay.
    pub rebalance: Option<NonZeroU32>,
    /// How long a broker that returns takes to its full share of the clients.
    pub slow_start: Option<Duration>,
    pub admission: Option<Admission>,
    pub tls: Option<PoolTls>,
    pub send_proxy_protocol: Option<ProxyProtocolOut>,
    /// Local addresses to dial from, in turn; empty: the kernel's choice.
    pub source_addresses: Vec<IpAddr>,
}

impl Pool {
    /// The variables of its templates.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &Variable> {
        let cn = match &self.send_proxy_protocol {
            Some(ProxyProtocolOut::V2 { cn: Some(cn), .. }) => Some(cn),
            _ => None,
        };
        self.balance.key.variables().chain(cn.into_iter().flat_map(Template::variables))
    }
}

/// TLS to the brokers of a pool.
#[derive(Clone, Debug)]
pub struct PoolTls {
    pub client: Arc<rustls::ClientConfig>,
    /// The name in the brokers' certificates; `None`: the host they are dialled as.
    pub server_name: Option<ServerName<'static>>,
    /// The brokers' certificates are not checked.
    pub insecure: bool,
    pub certificates: Vec<CertificateFile>,
    /// All that it was read from.
    pub(crate) files: Vec<ReadFile>,
    /// What is likely a mistake in its files.
    pub(crate) file_warnings: Vec<TlsFileWarning>,
}

/// Never equal once it has been read again: the files may have changed.
impl PartialEq for PoolTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.client, &other.client)
    }
}

impl PoolTls {
    /// The name in the certificate of a broker at `address`; `None` where neither the configuration
    /// nor the address has one. Addresses from DNS do not count: the name is what was meant.
    pub fn name_for(&self, address: &Address) -> Option<ServerName<'static>> {
        self.server_name.clone().or_else(|| match address {
            Address::Ip(address) => Some(address.ip().into()),
            Address::Host(name, _) => {
                ServerName::try_from(name.trim_end_matches('.').to_owned()).ok()
            }
            Address::Unix(_) => None,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    pub algorithm: Algorithm,
    pub key: KeyTemplate,
    pub empty_client_id: EmptyClientId,
    /// The most of its fair share of the sessions that a broker is given, as a factor above 1.
    pub bounded_load: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
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

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Host(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Brokers found in DNS.
#[derive(Clone, Debug, PartialEq)]
pub struct Discover {
    pub dns: Arc<str>,
    pub records: Records,
    /// The longest time between two look-ups; a shorter TTL shortens it.
    pub interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// RFC 2782: each record names a broker, its port, its weight, and whether it is a backup.
    Srv {
        /// Replaces the records' own, where these are of another service of the same hosts.
        port: Option<u16>,
    },
    /// Each address (A and AAAA) is a broker, at this port.
    Addresses { port: u16 },
}

/// The failures after which a CONNECT is offered to the next broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    pub connect_failure: bool,
    pub connect_timeout: bool,
    /// The broker closes, is silent for `connack_timeout`, or sends something else.
    pub no_connack: bool,
    /// Return code 3, or reason code 0x88.
    pub server_unavailable: bool,
    /// Reason codes 0x89, 0x97 and 0x9F.
    pub server_busy: bool,
    /// Reason codes 0x9C and 0x9D.
    pub use_another_server: bool,
}

/// How brokers are found to be down.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub active: Option<ActiveCheck>,
    pub passive: Option<Passive>,
    /// The percentage of brokers that look down from which on all are tried; `None`: never.
    pub fail_open_percent: Option<NonZeroU32>,
}

/// Probes of every broker.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveCheck {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    /// Good probes in a row that bring a broker back.
    pub rise: NonZeroU32,
    /// Failed probes in a row that take it out.
    pub fall: NonZeroU32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// A connection is accepted.
    Tcp,
    /// A CONNECT is answered with one of these codes.
    Mqtt { username: Option<Arc<str>>, password: Option<Secret>, expect: Vec<u8> },
    /// A GET is answered with one of these status codes.
    Http { port: u16, path: Arc<str>, expect: Vec<u16>, login: Option<(Arc<str>, Secret)> },
}

/// Ejection of brokers that fail clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passive {
    /// Failures in a row, within `window`, that eject a broker.
    pub failures: NonZeroU32,
    pub window: Duration,
    /// The first time; each ejection that follows on another lasts twice as long.
    pub eject_for: Duration,
    pub max_ejected_percent: u32,
}

/// What becomes of the sessions of a broker that is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDown {
    #[default]
    Close,
    Keep,
}

/// CONNECTs that a broker is given; later ones wait in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    pub rate: Rate,
    pub max_wait: Duration,
}
