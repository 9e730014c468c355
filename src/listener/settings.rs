//! The settings of a listener, taken by each connection when it is accepted.

use std::{iter, net::IpAddr, sync::Arc};

use super::rules::{ListenerRules, OperatorShares};
use crate::{
    config::{self, Bind, Identity, Idle, NetworkAccess, ProxyProtocolIn, WebSocket},
    labels::Transport,
    metrics::ListenerMetrics,
    proto::mqtt::Strictness,
    tls::TlsServer,
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
    /// The bound address.
    pub bind: Bind,
    /// The transport of its connections, as logs name it. With both protocols: that of MQTT, and of
    /// connections whose protocol is not known yet.
    pub transport: Transport,
    /// For clients for which no rule holds.
    pub pool: Arc<Pool>,
    /// `None`: every client goes to `pool`.
    pub rules: Option<ListenerRules>,
    pub metrics: ListenerMetrics,
    /// `None` if clients of all networks may connect.
    pub access: Option<NetworkAccess>,
    pub proxy_protocol: Option<ProxyProtocolIn>,
    pub tls: Option<TlsServer>,
    /// Whether clients may speak MQTT without WebSocket.
    pub mqtt: bool,
    /// `None`: clients do not speak WebSocket.
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
        let mqtt_transport = match (&listener.tls, bind) {
            _ if listener.tls_passthrough => Transport::TlsPassthrough,
            (Some(_), _) => Transport::Tls,
            (None, Bind::Tcp(_)) => Transport::Tcp,
            (None, Bind::Unix(_)) => Transport::Unix,
        };
        let transport =
            if listener.mqtt { mqtt_transport } else { mqtt_transport.with_websocket() };
        Self {
            name: listener.name.clone(),
            bind: bind.clone(),
            transport,
            pool: pools.default.clone(),
            rules: (!rules.is_empty()).then_some(rules),
            metrics,
            access: (!listener.access.is_default()).then(|| listener.access.clone()),
            proxy_protocol: listener.proxy_protocol.clone(),
            tls: listener.tls.as_ref().map(|tls| tls.server.clone()),
            mqtt: listener.mqtt,
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

    /// Whether this peer may name another address as its client's: by a PROXY header, or in a
    /// WebSocket request. `None` is a peer on a unix socket.
    pub fn is_from_proxy(&self, peer: Option<IpAddr>) -> bool {
        let sends_header = self.proxy_protocol.as_ref().is_some_and(|rules| rules.is_from(peer));
        let forwards = |ip| self.websocket.as_ref().is_some_and(|ws| ws.forwarded_for.contains(ip));
        sends_header || peer.is_some_and(forwards)
    }

    /// The transports that its connections can have.
    pub fn transports(&self) -> impl Iterator<Item = Transport> {
        let over_websocket = self.transport.with_websocket();
        let is_second = self.mqtt && self.websocket.is_some();
        iter::once(self.transport).chain(is_second.then_some(over_websocket))
    }

    /// Whether connections carry MQTT directly, without a PROXY header, TLS or WebSocket.
    pub fn is_plain(&self) -> bool {
        matches!(self.transport, Transport::Tcp | Transport::Unix)
            && self.proxy_protocol.is_none()
            && self.websocket.is_none()
    }

    /// Whether the clients' TLS is passed through to the brokers, so that no CONNECT is read.
    pub fn passes_tls_through(&self) -> bool {
        self.transport == Transport::TlsPassthrough
    }
}
