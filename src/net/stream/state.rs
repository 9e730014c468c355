//! The state of a stream in a form that another process can continue, with its socket.

use std::{io, os::fd::OwnedFd, rc::Rc};

use serde::{Deserialize, Serialize};

use super::{
    Layers, Stream,
    tls::{CaptureError, TlsLayer, TlsLayerState},
    websocket::{WebSocketLayer, WebSocketState},
};
use crate::net::{reactor::Reactor, socket::Socket};

/// What a stream is, apart from its socket. With TLS, it has secrets.
///
/// Every layer has to be there by name, with or without a state: a version that has others is
/// refused, and does not make this one take records for MQTT.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamState {
    #[serde(deserialize_with = "Option::deserialize")]
    tls: Option<Box<TlsLayerState>>,
    #[serde(deserialize_with = "Option::deserialize")]
    websocket: Option<Box<WebSocketState>>,
}

/// Why a stream cannot be continued in this process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error("the descriptor cannot be used: {0}")]
    Descriptor(#[from] io::Error),
    #[error("the state of its TLS connection is invalid: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the state of its WebSocket connection is invalid")]
    WebSocket,
}

impl Stream {
    /// Its state in this second, as counted for [`Stream::ping_if_quiet`]. Nothing may be read or
    /// written until [`Self::resume`]; over TLS nothing is.
    ///
    /// # Errors
    /// As [`CaptureError`] says.
    pub(crate) fn capture(&self, second: u32) -> Result<StreamState, CaptureError> {
        let Some(layers) = &self.layers else { return Ok(StreamState::default()) };
        let Layers { tls, websocket } = &**layers;
        Ok(StreamState {
            tls: tls.as_ref().map(|layer| layer.capture().map(Box::new)).transpose()?,
            websocket: websocket.as_ref().map(|layer| Box::new(layer.capture(second))),
        })
    }

    /// Goes on after [`Self::capture`]: no other process has the state.
    pub(crate) fn resume(&self) {
        if let Some(tls) = self.layers.as_ref().and_then(|layers| layers.tls.as_ref()) {
            tls.resume();
        }
    }

    /// Continues a stream that another process has [captured](Self::capture), on a descriptor of
    /// its socket. It is assumed to be readable and writable. `second`: the current one.
    pub(crate) fn restore(
        reactor: &Rc<Reactor>,
        fd: OwnedFd,
        state: StreamState,
        second: u32,
    ) -> Result<Self, RestoreError> {
        let StreamState { tls, websocket } = state;
        let socket = Socket::moved(reactor, fd)?;
        let mut layers = Layers::default();
        if let Some(state) = tls {
            layers.tls = Some(Box::new(TlsLayer::restore(*state, &socket)?));
        }
        if let Some(state) = websocket {
            let layer = WebSocketLayer::restore(*state, second).ok_or(RestoreError::WebSocket)?;
            layers.websocket = Some(Box::new(layer));
        }
        let has_layers = layers.tls.is_some() || layers.websocket.is_some();
        Ok(Self { socket, layers: has_layers.then(|| Box::new(layers)) })
    }
}
