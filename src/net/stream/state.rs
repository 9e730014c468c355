//! The state of a stream in a form that another process can continue, with its socket.

use std::{io, os::fd::OwnedFd, rc::Rc};

use serde::{Deserialize, Serialize};

use super::{
    Layers, Stream,
    websocket::{WebSocketLayer, WebSocketState},
};
use crate::net::{reactor::Reactor, socket::Socket};

/// What a stream is besides its socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StreamState {
    websocket: Option<WebSocketState>,
}

/// Why a stream cannot move to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HasTls;

/// Why a stream cannot be continued in this process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error("the descriptor cannot be used: {0}")]
    Descriptor(#[from] io::Error),
    #[error("the state of its WebSocket connection is invalid")]
    WebSocket,
}

impl Stream {
    /// Its state in this second, as counted for [`Stream::ping_if_quiet`].
    ///
    /// # Errors
    /// The keys of TLS cannot be taken out of the process.
    pub(crate) fn capture(&self, second: u32) -> Result<StreamState, HasTls> {
        let Some(layers) = &self.layers else { return Ok(StreamState::default()) };
        let Layers { tls, websocket } = &**layers;
        if tls.is_some() {
            return Err(HasTls);
        }
        let websocket = websocket.as_ref().map(|layer| layer.capture(second));
        Ok(StreamState { websocket })
    }

    /// Continues a stream that another process has [captured](Self::capture), on a descriptor of
    /// its socket. It is assumed to be readable and writable. `second`: the current one.
    pub(crate) fn restore(
        reactor: &Rc<Reactor>,
        fd: OwnedFd,
        state: StreamState,
        second: u32,
    ) -> Result<Self, RestoreError> {
        let StreamState { websocket } = state;
        let websocket = match websocket.map(|state| WebSocketLayer::restore(state, second)) {
            None => None,
            Some(None) => return Err(RestoreError::WebSocket),
            Some(Some(layer)) => Some(Box::new(layer)),
        };
        let layers = websocket.map(|layer| Layers { tls: None, websocket: Some(layer) });
        let socket = Socket::moved(reactor, fd)?;
        Ok(Self { socket, layers: layers.map(Box::new) })
    }
}
