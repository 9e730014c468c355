//! A connection that carries MQTT: over TCP or a unix socket, with or without TLS and WebSocket.

mod backlog;
mod protocol_prefix;
mod state;
mod tls;
mod tls_or_tcp;
mod websocket;

pub(crate) use state::{RestoreError, StreamState};
pub(crate) use tls::{CaptureError, ClientTlsHandshake, KeyUse, TlsError, is_key_used_up};
pub use tls::{EstablishedTls, TlsReceived, TlsRole};
pub(crate) use websocket::Ping;

use std::{
    io,
    num::NonZeroU32,
    pin::pin,
    task::{Context, Poll},
};

use super::{socket::Socket, tcp_options::TcpOptions};
use crate::{proto::TlsFacts, tls::TlsServer};
use {
    protocol_prefix::read_protocol_prefix,
    tls::{ServerTlsHandshake, TlsLayer},
    tls_or_tcp::TlsOrTcp,
    websocket::WebSocketLayer,
};

/// A client's or a broker's connection. The bytes read from it and written to it are MQTT.
pub(crate) struct Stream {
    socket: Socket,
    /// `None` if the socket carries MQTT directly.
    layers: Option<Box<Layers>>,
}

/// The layers between MQTT and the socket.
#[derive(Default)]
struct Layers {
    tls: Option<Box<TlsLayer>>,
    websocket: Option<Box<WebSocketLayer>>,
}

impl Stream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, layers: None }
    }

    /// Runs the server side of the TLS handshake; everything after it goes through TLS. `first`:
    /// bytes already read; `max_partial_bytes`: how many bytes of incomplete messages are kept.
    pub(crate) async fn accept_tls(
        &mut self,
        config: &TlsServer,
        first: Vec<u8>,
        max_partial_bytes: usize,
    ) -> Result<TlsFacts, TlsError> {
        let accepting = ServerTlsHandshake::new(first, max_partial_bytes);
        let accepting = pin!(accepting.run(config, &self.socket));
        let (tls, facts) = self.socket.turn().pace(accepting).await?;
        self.layers.get_or_insert_default().tls = Some(Box::new(tls));
        Ok(facts)
    }

    /// Finishes a TLS handshake whose ClientHello has been sent on this stream; everything after it
    /// goes through TLS.
    pub(crate) async fn connect_tls(
        &mut self,
        connecting: ClientTlsHandshake,
    ) -> Result<(), TlsError> {
        let connecting = pin!(connecting.run(&self.socket));
        let tls = self.socket.turn().pace(connecting).await?;
        self.layers.get_or_insert_default().tls = Some(Box::new(tls));
        Ok(())
    }

    /// Switches to WebSocket frames. `early`: the bytes read after the request; replaced by their
    /// payload. `ping`: the seconds of [`Self::ping_if_quiet`]; `None`: never.
    pub(crate) fn begin_websocket(&mut self, early: &mut Vec<u8>, ping: Option<NonZeroU32>) {
        let layers = self.layers.get_or_insert_default();
        let websocket = WebSocketLayer::new(layers.carrier(&self.socket), early, ping);
        layers.websocket = Some(Box::new(websocket));
    }

    /// Reads what has arrived; 0 at the peer's end.
    ///
    /// Pending: the task that [watches](Self::watch) this stream is woken when there is more.
    pub(crate) fn try_recv(&self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &self.layers {
            None => self.socket.try_recv(buf),
            Some(layers) => match &layers.websocket {
                Some(websocket) => websocket.try_recv(layers.carrier(&self.socket), buf),
                None => layers.carrier(&self.socket).try_recv(buf),
            },
        }
    }

    /// Writes as much of `buf` as it can. Pending as in [`Self::try_recv`].
    ///
    /// A layer may keep bytes that it took until [`Self::try_flush`].
    pub(crate) fn try_send(&self, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &self.layers {
            None => self.socket.try_send(buf),
            Some(layers) => match &layers.websocket {
                Some(websocket) => websocket.try_send(layers.carrier(&self.socket), buf),
                None => layers.carrier(&self.socket).try_send(buf),
            },
        }
    }

    /// Writes to the socket what the layers have taken. Pending as in [`Self::try_recv`].
    pub(crate) fn try_flush(&self) -> Poll<io::Result<()>> {
        match &self.layers {
            None => Poll::Ready(Ok(())),
            Some(layers) => match &layers.websocket {
                Some(websocket) => websocket.try_flush(layers.carrier(&self.socket)),
                None => layers.carrier(&self.socket).try_flush(),
            },
        }
    }

    /// Writes all of `buf`.
    pub(crate) async fn send_all(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let n = std::future::poll_fn(|cx| {
                self.watch(cx);
                self.try_send(buf)
            })
            .await?;
            buf = &buf[n..];
        }
        std::future::poll_fn(|cx| {
            self.watch(cx);
            self.try_flush()
        })
        .await
    }

    /// Reads once into `buf`. The task is woken at the stream's next event.
    pub(crate) fn poll_recv(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.watch(cx);
        self.try_recv(buf)
    }

    /// Wakes `cx` at every event from now on, until another task watches.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        self.socket.watch(cx);
    }

    /// Whether the connection has broken, as far as the kernel has reported.
    pub(crate) fn is_broken(&self) -> bool {
        self.socket.is_broken()
    }

    /// Whether the peer has ended its side, even if bytes before that end are unread.
    pub(crate) fn has_ended(&self) -> bool {
        self.socket.has_ended()
    }

    /// Wakes the task that watches this stream.
    pub(crate) fn wake(&self) {
        self.socket.wake();
    }

    /// Enables keep-alive and the user timeout; does nothing on a unix socket.
    pub(crate) fn set_options(&self, options: TcpOptions) {
        self.socket.set_options(options);
    }

    /// Completes `first`, the first bytes of a refused client, so that its protocol can be
    /// detected; waits up to a second for them. Does nothing inside other layers, where the
    /// protocol is known.
    pub(crate) async fn read_protocol_prefix(&self, first: &mut Vec<u8>) {
        if self.layers.is_none() {
            read_protocol_prefix(&self.socket, first).await;
        }
    }

    /// Ends our side once everything taken is written: the peer reads an end of file.
    pub(crate) fn shutdown(&self) {
        match &self.layers {
            None => self.socket.shutdown(),
            Some(layers) => layers.shutdown(&self.socket),
        }
    }

    /// Sends a WebSocket Ping if the peer has been sent nothing for long enough, and has not left
    /// the last ones unanswered. To be called once a second.
    pub(crate) fn ping_if_quiet(&self, second: u32) -> Ping {
        let Some(layers) = &self.layers else { return Ping::NotDue };
        let websocket = layers.websocket.as_ref();
        websocket.map_or(Ping::NotDue, |it| it.ping_if_quiet(layers.carrier(&self.socket), second))
    }

    /// Tells the peer, before the socket is closed, that the end is intended: with a Close frame in
    /// WebSocket, close_notify in TLS.
    pub(crate) fn send_close(&self) {
        if let Some(layers) = &self.layers {
            match &layers.websocket {
                Some(websocket) => websocket.shutdown(layers.carrier(&self.socket)),
                None => layers.carrier(&self.socket).send_close_notify(),
            }
        }
    }

    /// How much the TLS keys have encrypted; `None` if they have no limit or can be replaced, and
    /// without TLS.
    pub(crate) fn key_use(&self) -> Option<KeyUse> {
        self.layers.as_ref()?.tls.as_ref()?.key_use()
    }

    /// Keeps no more tickets with which a connection to the same broker could resume TLS: a broker's
    /// arrive before its CONNACK, and what is needed to keep them takes up memory until then.
    pub(crate) fn ignore_tickets(&self) {
        if let Some(tls) = self.layers.as_ref().and_then(|layers| layers.tls.as_ref()) {
            tls.ignore_tickets();
        }
    }

    /// Makes the next close send a reset, which tells the peer that the stream is incomplete.
    pub(crate) fn reset_on_close(&self) {
        self.socket.reset_on_close();
    }

    /// Stops the events of the socket, which another process may still use: closing it does not stop
    /// them then. To be called right before the stream is dropped.
    pub(crate) fn leave_reactor(&self) {
        self.socket.leave_reactor();
    }

    /// The socket, if it carries MQTT directly, so that the kernel can move the bytes.
    pub(crate) fn plain(&self) -> Option<&Socket> {
        self.layers.is_none().then_some(&self.socket)
    }

    /// The socket below all layers.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Layers {
    /// The layer below WebSocket.
    fn carrier<'a>(&'a self, socket: &'a Socket) -> TlsOrTcp<'a> {
        TlsOrTcp { socket, tls: self.tls.as_deref() }
    }

    fn shutdown(&self, socket: &Socket) {
        match &self.websocket {
            Some(websocket) => websocket.shutdown(self.carrier(socket)),
            None => self.carrier(socket).shutdown(),
        }
    }
}
