//! The settings of a listener, taken by each connection when it is accepted.

use std::sync::Arc;

use rustls::ServerConfig;

use super::rules::{ListenerRules, OperatorShares};
use crate::{
    config::{self, Bind, Identity, Idle, NetworkAccess, ProxyProtocolIn, WebSocket},
    labels::Transport,
    metrics::ListenerMetrics,
    proto::mqtt::Strictness,
    upstream::Pool,
};

/// The pools that the clients of a listener may go to.
pub struct ListenerPools<'a> {
    /// For clients for which no rule holds.
    pub default: Arc<Pool>,
    /// In the order of the configuration.
    pub all: &'a [Arc<Pool>],
}

/// The settings of a listener until the next reload. A connection takes them when it is accepted,
/// but its session keeps only names: each reload loads certificates again, and a session may
/// outlive many reloads.
pub struct ListenerSettings {
    pub name: Arc<str>,
    /// The transport of its clients, as logs and metrics name it.
    pub transport: Transport,
    /// For clients for which no rule holds.
    pub pool: Arc<Pool>,
    /// `None` if there are none.
    pub rules: Option<ListenerRules>,
    pub metrics: ListenerMetrics,
    /// `None` if clients of all networks may connect.
    pub access: Option<NetworkAccess>,
    pub proxy_protocol: Option<ProxyProtocolIn>,
    pub tls: Option<Arc<ServerConfig>>,
    pub websocket: Option<WebSocket>,
    /// How its clients' CONNECTs are read.
    pub strictness: Strictness,
    /// `None` if it asks for nothing and changes nothing.
    pub identity: Option<Arc<Identity>>,
    /// How long sessions may be silent; `None`: as `timeouts.idle` says.
    pub idle: Option<Idle>,
}

impl ListenerSettings {
    pub(super) fn new(
        listener: &config::Listener,
        bind: &Bind,
        pools: &ListenerPools<'_>,
        metrics: ListenerMetrics,
        shares: &OperatorShares,
    ) -> Self {
        let rules = ListenerRules::new(&listener.rules, pools.all, &metrics, shares);
        let transport = match (&listener.websocket, &listener.tls, bind) {
            (Some(_), Some(_), _) => Transport::Wss,
            (Some(_), None, _) => Transport::Ws,
            (None, Some(_), _) => Transport::Tls,
            (None, None, Bind::Tcp(_)) => Transport::Tcp,
            (None, None, Bind::Unix(_)) => Transport::Unix,
        };
        Self {
            name: listener.name.clone(),
            transport,
            pool: pools.default.clone(),
            rules: (!rules.is_empty()).then_some(rules),
            metrics,
            access: (!listener.access.is_default()).then(|| listener.access.clone()),
            proxy_protocol: listener.proxy_protocol.clone(),
            tls: listener.tls.as_ref().map(|tls| tls.server.clone()),
            websocket: listener.websocket.clone(),
            strictness: if listener.identity.lenient {
                Strictness::Lenient
            } else {
                Strictness::Strict
            },
            identity: (!listener.identity.is_default())
                .then(|| Arc::new(listener.identity.clone())),
            idle: listener.idle,
        }
    }

    /// Whether connections carry MQTT directly, without a PROXY header, TLS or WebSocket.
    pub fn is_plain(&self) -> bool {
        self.proxy_protocol.is_none() && self.tls.is_none() && self.websocket.is_none()
    }
}
