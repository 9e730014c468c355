//! A connection that carries MQTT, whatever it is wrapped in.

mod backlog;
mod carrier;
mod protocol_prefix;
mod tls;
mod websocket;

pub use tls::{ClientTlsHandshake, TlsError};

use std::{
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::ServerConfig;

use super::{socket::Socket, tcp_options::TcpOptions};
use crate::proto::TlsFacts;
use {
    carrier::TlsOrTcp,
    protocol_prefix::read_protocol_prefix,
    tls::{Accepting, Tls},
    websocket::WebSocket,
};

/// A client's or a broker's connection: what is read from it and written to it is plain MQTT.
pub struct Stream {
    socket: Socket,
    /// `None` where MQTT is all that the socket carries.
    layers: Option<Box<Layers>>,
}

/// What MQTT is wrapped in.
#[derive(Default)]
struct Layers {
    tls: Option<Box<Tls>>,
    websocket: Option<Box<WebSocket>>,
}

impl Stream {
    pub fn new(socket: Socket) -> Self {
        Self { socket, layers: None }
    }

    /// Has the client prove itself by TLS, and puts that under all that follows. `first` is what it
    /// has been heard to say already; `may_hold`, how many bytes of messages that have not come whole
    /// it may leave here.
    pub async fn accept_tls(
        &mut self,
        config: &Arc<ServerConfig>,
        first: Vec<u8>,
        may_hold: usize,
    ) -> Result<TlsFacts, TlsError> {
        let accepting = pin!(Accepting::new(config, first, may_hold)?.run(&self.socket));
        let (tls, facts) = self.socket.turn().pace(accepting).await?;
        self.layers.get_or_insert_default().tls = Some(Box::new(tls));
        Ok(facts)
    }

    /// Goes through a handshake that has begun on this stream, and puts TLS under all that follows.
    pub async fn connect_tls(&mut self, connecting: ClientTlsHandshake) -> Result<(), TlsError> {
        let connecting = pin!(connecting.run(&self.socket));
        let tls = self.socket.turn().pace(connecting).await?;
        self.layers.get_or_insert_default().tls = Some(Box::new(tls));
        Ok(())
    }

    /// Has MQTT come in WebSocket frames from now on. `early` is what has been read behind the
    /// request; what it carries is left in it.
    pub fn begin_websocket(&mut self, early: &mut Vec<u8>) {
        let layers = self.layers.get_or_insert_default();
        let websocket = WebSocket::begin(layers.carrier(&self.socket), early);
        layers.websocket = Some(Box::new(websocket));
    }

    /// Reads what is there, 0 at the peer's end.
    ///
    /// Pending: the task that [watches](Self::watch) this stream is woken when there is more.
    pub fn try_recv(&self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &self.layers {
            None => self.socket.try_recv(buf),
            Some(layers) => match &layers.websocket {
                Some(websocket) => websocket.try_recv(layers.carrier(&self.socket), buf),
                None => layers.carrier(&self.socket).try_recv(buf),
            },
        }
    }

    /// Takes what it can of `buf`. Pending as in [`Self::try_recv`].
    ///
    /// Where there are layers, what was taken may still wait for [`Self::try_flush`].
    pub fn try_send(&self, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &self.layers {
            None => self.socket.try_send(buf),
            Some(layers) => match &layers.websocket {
                Some(websocket) => websocket.try_send(layers.carrier(&self.socket), buf),
                None => layers.carrier(&self.socket).try_send(buf),
            },
        }
    }

    /// Gives the kernel what was taken and is still here. Pending as in [`Self::try_recv`].
    pub fn try_flush(&self) -> Poll<io::Result<()>> {
        match &self.layers {
            None => Poll::Ready(Ok(())),
            Some(layers) => match &layers.websocket {
                Some(websocket) => websocket.try_flush(layers.carrier(&self.socket)),
                None => layers.carrier(&self.socket).try_flush(),
            },
        }
    }

    /// Writes all of `buf`.
    pub async fn send_all(&self, mut buf: &[u8]) -> io::Result<()> {
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

    /// Reads once into `buf`, which no other task may hold meanwhile.
    pub fn poll_recv(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.watch(cx);
        self.try_recv(buf)
    }

    /// Has `cx` woken at every event from now on, until another task watches.
    pub fn watch(&self, cx: &Context<'_>) {
        self.socket.watch(cx);
    }

    /// Whether the connection has broken, as far as the kernel has said.
    pub fn is_broken(&self) -> bool {
        self.socket.is_broken()
    }

    /// Whether the peer has ended its side by now, be it read or not.
    pub fn has_ended(&self) -> bool {
        self.socket.has_ended()
    }

    /// Wakes the task that watches this stream.
    pub fn wake(&self) {
        self.socket.wake();
    }

    /// Has TCP watch over the connection; nothing on a unix socket.
    pub fn set_options(&self, options: TcpOptions) {
        self.socket.set_options(options);
    }

    /// Adds to `first`, how a client began that is refused, what tells which protocol that is, if it
    /// is worth a moment. Inside of other layers it is not.
    pub async fn read_protocol_prefix(&self, first: &mut Vec<u8>) {
        if self.layers.is_none() {
            read_protocol_prefix(&self.socket, first).await;
        }
    }

    /// Ends our side once all that was taken is gone: the peer reads an end of file.
    pub fn shutdown(&self) {
        match &self.layers {
            None => self.socket.shutdown(),
            Some(layers) => layers.shutdown(&self.socket),
        }
    }

    /// Before the close: tells the peer, in a layer that has a word for it, that it is meant.
    pub fn send_close(&self) {
        if let Some(layers) = &self.layers {
            match &layers.websocket {
                Some(websocket) => websocket.shutdown(layers.carrier(&self.socket)),
                None => layers.carrier(&self.socket).send_close(),
            }
        }
    }

    /// Whether its TLS has sent so many records that the connection has to end soon.
    pub fn is_near_key_limit(&self) -> bool {
        let tls = self.layers.as_ref().and_then(|layers| layers.tls.as_ref());
        tls.is_some_and(|tls| tls.is_near_key_limit())
    }

    #[cfg(test)]
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.layers.as_ref()?.tls.as_deref()
    }

    /// Has the coming close send a reset, so that the peer learns that the stream did not end well.
    pub fn reset_on_close(&self) {
        self.socket.reset_on_close();
    }

    /// The socket, where what it carries is what is relayed, so that the kernel can move it.
    pub fn plain(&self) -> Option<&Socket> {
        self.layers.is_none().then_some(&self.socket)
    }

    /// What everything goes through in the end.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Layers {
    /// What the outermost layer goes through.
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
