//! Listeners, and what wraps the MQTT of their clients.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use super::{Identity, Idle, ProxyProtocolIn, ReadFile, WebSocket};
use crate::{
    networks::PrefixSet,
    rules::{Action, Rule},
    tls::TlsServer,
};

/// A listening address, the pool of its clients, and the protocols around their MQTT.
#[derive(Clone, Debug)]
pub struct Listener {
    pub name: Arc<str>,
    pub bind: Bind,
    /// Index into `Config::pools`.
    pub pool: usize,
    pub access: NetworkAccess,
    pub proxy_protocol: Option<ProxyProtocolIn>,
    pub tls: Option<ListenerTls>,
    /// Whether clients may speak MQTT without WebSocket.
    pub mqtt: bool,
    /// The brokers are the clients' TLS servers: `tls` and `websocket` are `None`, and `identity` is
    /// the default.
    pub tls_passthrough: bool,
    /// `None`: clients do not speak WebSocket.
    pub websocket: Option<WebSocket>,
    pub identity: Identity,
    pub rules: Vec<Rule>,
    /// Replaces [`Timeouts::idle`](super::Timeouts).
    pub idle: Option<Idle>,
}

impl Listener {
    /// The pools that its clients may go to, as indices into `Config::pools`, in ascending order.
    pub(crate) fn pools(&self) -> Vec<usize> {
        let of_rules = self.rules.iter().filter_map(|rule| match rule.action {
            Action::Pool(at) => Some(at),
            Action::Refuse(_) | Action::Redirect(_) => None,
        });
        let mut pools: Vec<_> = [self.pool].into_iter().chain(of_rules).collect();
        pools.sort_unstable();
        pools.dedup();
        pools
    }
}

/// A local address to listen on. IPv6 sockets are IPv6 only (IPV6_V6ONLY), so that `0.0.0.0:1883`
/// and `[::]:1883` can both be listened on.
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

/// The networks whose clients may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkAccess {
    /// `None`: all networks.
    pub allow: Option<PrefixSet>,
    /// These may not, even if `allow` has them.
    pub deny: PrefixSet,
}

impl NetworkAccess {
    /// Why a client with this address may not connect; `None`: it may.
    pub fn denied(&self, ip: IpAddr) -> Option<&'static str> {
        if self.deny.contains(ip) {
            return Some("the address is in `deny` of the listener");
        }
        let is_allowed = self.allow.as_ref().is_none_or(|allow| allow.contains(ip));
        (!is_allowed).then_some("the address is not in `allow` of the listener")
    }

    /// Whether all clients may connect.
    pub fn is_default(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }
}

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    pub server: TlsServer,
    /// Of `client_auth`: optional or required.
    pub asks_for_certificates: bool,
    /// In the order of the file: the first is shown to clients that ask for no host.
    pub certificates: Vec<CertificateFile>,
    /// The OCSP responses for some of them.
    pub staples: Vec<StapleFile>,
    /// Which client certificates are revoked; `None`: revocation is not checked.
    pub revocation: Option<RevocationFile>,
    /// All that it was read from.
    pub(crate) files: Vec<ReadFile>,
    /// `None`: the keys of tickets are generated.
    pub ticket_keys: Option<TicketKeyFile>,
    /// What is likely a mistake in its files.
    pub(crate) file_warnings: Vec<TlsFileWarning>,
}

/// What is likely a mistake in a file of TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsFileWarning {
    /// The key of `tls` that names the file.
    pub(crate) key: &'static str,
    /// A sentence that names the file.
    pub(crate) text: String,
}

/// A certificate of the configuration, for the metrics and warnings about its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFile {
    pub path: PathBuf,
    /// The first second in which the first certificate of the file is valid, in Unix time.
    pub not_before: i64,
    /// The last such second.
    pub not_after: i64,
}

/// An OCSP response of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StapleFile {
    pub path: PathBuf,
    /// The last second in which it is valid, in Unix time. It is not sent after that.
    pub next_update: i64,
}

/// Certificate revocation lists of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationFile {
    pub path: PathBuf,
    /// When the first of them is due to be replaced, in Unix time.
    pub next_update: i64,
}

/// The file of a listener's ticket keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketKeyFile {
    pub path: PathBuf,
    /// Any user of this machine may read it.
    pub is_world_readable: bool,
    /// The first line with the key of an earlier one, counted from 1.
    pub repeated_line: Option<usize>,
}
