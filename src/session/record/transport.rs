//! What became known about a connection before its first byte of MQTT.

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::proto::{TlsFacts, proxy_header::KeptTlvs};

/// What became known before the first byte of MQTT, except for the facts about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransportInfo {
    /// The socket's peer, if it is not the client.
    pub(crate) peer: Option<SocketAddr>,
    /// The address that the client connected to, if it was not this proxy's.
    pub(crate) destination: Option<SocketAddr>,
    /// TLVs of the PROXY header.
    pub(crate) tlvs: Option<Box<KeptTlvs>>,
    /// Whether the client speaks WebSocket, on a listener where it may also speak MQTT itself.
    pub(crate) chose_websocket: bool,
    /// The path of its WebSocket request, without the query.
    pub(crate) path: Option<Arc<str>>,
}

/// A [`TransportInfo`] with the facts about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TransportState {
    peer: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    tls: Option<TlsFacts>,
    tlvs: Option<Box<KeptTlvs>>,
    chose_websocket: bool,
    path: Option<Arc<str>>,
}

impl TransportState {
    /// `None` for a connection that has only MQTT.
    pub(super) fn of(info: Option<&TransportInfo>, tls: Option<&TlsFacts>) -> Option<Box<Self>> {
        if info.is_none() && tls.is_none() {
            return None;
        }
        let info = info.cloned().unwrap_or_default();
        let TransportInfo { peer, destination, tlvs, chose_websocket, path } = info;
        let tls = tls.cloned();
        Some(Box::new(Self { peer, destination, tls, tlvs, chose_websocket, path }))
    }

    /// The fields of a record.
    pub(super) fn into_parts(self) -> (Option<TlsFacts>, Option<Box<TransportInfo>>) {
        let Self { peer, destination, tls, tlvs, chose_websocket, path } = self;
        let info = TransportInfo { peer, destination, tlvs, chose_websocket, path };
        (tls, (info != TransportInfo::default()).then(|| Box::new(info)))
    }
}
