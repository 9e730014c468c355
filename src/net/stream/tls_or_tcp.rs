//! The layer that carries MQTT or WebSocket frames: a socket, or TLS over it.

use std::{io, task::Poll};

use super::tls::TlsLayer;
use crate::net::{loan::Loan, socket::Socket};

/// A socket, or TLS over it; its calls are those of a [`Stream`](super::Stream).
#[derive(Clone, Copy)]
pub(super) struct TlsOrTcp<'a> {
    pub(super) socket: &'a Socket,
    pub(super) tls: Option<&'a TlsLayer>,
}

impl<'a> TlsOrTcp<'a> {
    pub(super) fn try_recv(self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.tls {
            None => self.socket.try_recv(buf),
            Some(tls) => tls.try_recv(self.socket, buf),
        }
    }

    pub(super) fn try_send(self, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.tls {
            None => self.socket.try_send(buf),
            Some(tls) => tls.try_send(self.socket, buf),
        }
    }

    pub(super) fn try_flush(self) -> Poll<io::Result<()>> {
        match self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.try_flush(self.socket),
        }
    }

    pub(super) fn shutdown(self) {
        match self.tls {
            None => self.socket.shutdown(),
            Some(tls) => tls.shutdown(self.socket),
        }
    }

    /// Sends close_notify over TLS; the socket must be closed right after.
    pub(super) fn send_close_notify(self) {
        if let Some(tls) = self.tls {
            tls.send_close_notify(self.socket);
        }
    }

    /// Wakes the task that watches this connection.
    pub(super) fn wake(self) {
        self.socket.wake();
    }

    /// The worker's buffer for frames to be sent.
    pub(super) fn frames(self) -> Loan<'a, Vec<u8>> {
        self.socket.buffers().frames.lend()
    }
}
