//! The state of an established TLS connection: its keys, and the bytes waiting in either direction.

use std::{io, task::Poll};

use rustls::AlertDescription;

use super::{
    buffers::{OwnEnd, TlsBuffers},
    record::{RecordLayer, TlsWrite},
};
use crate::net::{buffer::Buffer, socket::Socket};

pub(super) struct TlsState {
    pub(super) records: RecordLayer,
    pub(super) buffers: TlsBuffers,
}

impl TlsState {
    pub(super) fn new(records: RecordLayer, buffers: TlsBuffers) -> Self {
        Self { records, buffers }
    }

    /// Reads the socket once; returns the number of plaintext bytes in `buf`.
    pub(super) fn read(
        &mut self,
        socket: &Socket,
        outbox: &mut Buffer,
        buf: &mut [u8],
    ) -> io::Result<Poll<usize>> {
        self.buffers.read(&mut self.records, socket, outbox, buf, &mut |_| {})
    }

    pub(super) fn flush(&mut self, socket: &Socket) -> Poll<io::Result<()>> {
        if self.buffers.is_captured || self.buffers.flush(socket)?.is_pending() {
            return Poll::Pending;
        }
        if self.buffers.own_end == OwnEnd::Pending {
            self.buffers.own_end = OwnEnd::Done;
            socket.shutdown();
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the connection with an alert, as far as the socket takes it.
    pub(super) fn send_fatal_alert(&mut self, alert: AlertDescription, socket: &Socket) {
        let outbox = &mut *socket.buffers().outbox.lend();
        self.records.send_fatal_alert(alert, outbox);
        self.buffers.backlog.keep(outbox.bytes());
        // If the socket has failed, the alert cannot be delivered.
        let _ = self.buffers.flush(socket);
    }

    /// Writes close_notify; the socket is shut down once it and everything before it is written.
    pub(super) fn send_close_notify(&mut self, socket: &Socket) {
        if self.buffers.own_end != OwnEnd::Open || self.buffers.is_captured {
            return;
        }
        self.buffers.own_end = OwnEnd::Pending;
        let outbox = &mut *socket.buffers().outbox.lend();
        self.buffers.join_backlog(outbox);
        // After a failure of TLS there is no close_notify.
        let _ = self.records.write(TlsWrite::CloseNotify, outbox);
        let last = outbox.bytes();
        if last.is_empty() {
            return;
        }
        match socket.try_send_last(last) {
            Poll::Ready(Ok(sent)) => self.buffers.backlog.keep(&last[sent..]),
            Poll::Pending => self.buffers.backlog.keep(last),
            Poll::Ready(Err(_)) => {}
        }
    }
}
