//! A connection that carries MQTT, whatever it is wrapped in.

use std::{
    io,
    task::{Context, Poll},
};

use super::socket::{Socket, TcpOptions};

/// A client's or a broker's connection: what is read from it and written to it is plain MQTT.
pub struct Stream {
    socket: Socket,
    /// `None` where MQTT is all that the socket carries.
    layers: Option<Box<Layers>>,
}

/// What MQTT is wrapped in.
#[derive(Default)]
struct Layers {}

impl Stream {
    pub fn new(socket: Socket) -> Self {
        Self { socket, layers: None }
    }

    /// Reads what is there, 0 at the peer's end.
    ///
    /// Pending: the task that [watches](Self::watch) this stream is woken when there is more.
    pub fn try_recv(&self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &self.layers {
            None => self.socket.try_recv(buf),
            Some(_layers) => Poll::Pending,
        }
    }

    /// Takes what it can of `buf`. Pending as in [`Self::try_recv`].
    ///
    /// Where there are layers, what was taken may still wait for [`Self::try_flush`].
    pub fn try_send(&self, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &self.layers {
            None => self.socket.try_send(buf),
            Some(_layers) => Poll::Pending,
        }
    }

    /// Gives the kernel what was taken and is still here. Pending as in [`Self::try_recv`].
    pub fn try_flush(&self) -> Poll<io::Result<()>> {
        match &self.layers {
            None => Poll::Ready(Ok(())),
            Some(_layers) => Poll::Pending,
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

    /// Wakes the task that watches this stream.
    pub fn wake(&self) {
        self.socket.wake();
    }

    /// Has TCP watch over the connection; nothing on a unix socket.
    pub fn set_options(&self, options: TcpOptions) {
        self.socket.set_options(options);
    }

    /// Ends our side once all that was taken is gone: the peer reads an end of file.
    pub fn shutdown(&self) {
        match &self.layers {
            None => self.socket.shutdown(),
            Some(_layers) => {}
        }
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
