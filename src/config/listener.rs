//! Listeners, and what wraps the MQTT of their clients.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use ipnet::IpNet;

use super::{Identity, Idle, ProxyProtocolIn, WebSocket};

/// A listening address, the pool of its clients, and the protocols around their MQTT.
#[derive(Clone, Debug)]
pub struct Listener {
    pub name: Arc<str>,
    pub bind: Bind,
    /// Index into `Config::pools`.
    pub pool: usize,
    pub proxy_protocol: Option<ProxyProtocolIn>,
    pub tls: Option<ListenerTls>,
    /// Whether clients may speak MQTT without WebSocket.
    pub mqtt: bool,
    /// `None`: clients do not speak WebSocket.
    pub websocket: Option<WebSocket>,
    pub identity: Identity,
    /// Replaces [`Timeouts::idle`](super::Timeouts).
    pub idle: Option<Idle>,
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

/// Networks whose statements about other addresses are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub(super) Vec<IpNet>);

impl Networks {
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }
}

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    pub server: Arc<rustls::ServerConfig>,
    /// Of `client_auth`: optional or required.
    pub asks_for_certificates: bool,
    /// In the order of the file: the first is shown to clients that ask for no host.
    pub certificates: Vec<CertificateFile>,
    /// Which client certificates are revoked; `None`: revocation is not checked.
    pub revocation: Option<RevocationFile>,
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

/// Certificate revocation lists of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationFile {
    pub path: PathBuf,
    /// When the first of them is due to be replaced, in Unix time.
    pub next_update: i64,
}
