//! What carries a client's MQTT: TCP alone, or TLS or WebSocket on top of it.

use std::{io, os::fd::OwnedFd};

use mqtt_lb_bench::sys::{self, HANGUP, WRITABLE};

use crate::{tls, websocket};

/// What all clients of a run use.
pub enum Transport {
    Tcp,
    Tls(tls::Connector),
    WebSocket(websocket::Connector),
}

/// One client's state of it, above its socket.
pub enum Layer {
    Tcp,
    // Boxed: it is a kilobyte.
    Tls(Box<tls::Session>),
    WebSocket(websocket::Session),
}

impl Transport {
    pub fn layer(&self) -> io::Result<Layer> {
        Ok(match self {
            Self::Tcp => Layer::Tcp,
            Self::Tls(connector) => Layer::Tls(Box::new(connector.session()?)),
            Self::WebSocket(connector) => Layer::WebSocket(connector.session()),
        })
    }

    /// Whether clients present tickets of earlier connections.
    pub fn resumes(&self) -> bool {
        matches!(self, Self::Tls(connector) if connector.resumes())
    }
}

impl Layer {
    /// Goes on with the handshake after an event of the socket; tells whether MQTT may be sent.
    pub fn open(&mut self, socket: &OwnedFd, ready: u32) -> io::Result<bool> {
        match self {
            Self::Tcp => Ok(ready & (WRITABLE | HANGUP) != 0),
            Self::Tls(session) => session.open(socket),
            Self::WebSocket(session) => session.open(socket),
        }
    }

    /// Whether the handshake used a ticket.
    pub fn is_resumed(&self) -> bool {
        matches!(self, Self::Tls(session) if session.is_resumed())
    }

    /// Reads into `buffer`; `None` when nothing is there yet.
    pub fn read(&mut self, socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Tcp => sys::read(socket, buffer),
            Self::Tls(session) => session.read(socket, buffer),
            Self::WebSocket(session) => session.read(socket, buffer),
        }
    }

    /// Takes as much of `bytes` as there is room for; tells how much.
    pub fn write(&mut self, socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp => Ok(sys::write(socket, bytes)?.unwrap_or(0)),
            Self::Tls(session) => session.write(socket, bytes),
            Self::WebSocket(session) => session.write(socket, bytes),
        }
    }

    /// Whether bytes that were taken wait for room in the socket.
    pub fn holds_bytes(&self) -> bool {
        matches!(self, Self::Tls(session) if session.holds_bytes())
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self, socket: &OwnedFd) -> io::Result<()> {
        match self {
            Self::Tls(session) => session.flush(socket),
            Self::Tcp | Self::WebSocket(_) => Ok(()),
        }
    }

    /// Takes leave of the peer where the protocol has it; the socket's close is its owner's.
    pub fn close(&mut self, socket: &OwnedFd) {
        if let Self::Tls(session) = self {
            session.close(socket);
        }
    }
}
