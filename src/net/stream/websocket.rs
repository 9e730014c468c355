//! MQTT over WebSocket (MQTT 5.0, section 6) as a layer: bytes above, frames below.

use std::{cell::RefCell, io, task::Poll};

use super::{backlog::Backlog, carrier::TlsOrTcp};
use crate::{
    net::BULK_BYTES,
    proto::websocket::frame::{self, FrameDecoder, FrameError, StreamEnd},
};

/// The longest frame that is sent, as small clients hold a whole one.
const FRAME_BYTES: usize = 16 * 1024;

/// Reads in a row that may be without data, before others get their turn.
const READS_PER_CALL: usize = 8;

/// The server's side of a WebSocket connection.
#[derive(Default)]
pub(super) struct WebSocket {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    decoder: FrameDecoder,
    /// Frames that the carrier has not taken: those of one write, and a few bytes of control.
    backlog: Backlog,
    /// What the newest Ping said, as long as its Pong is owed.
    pong: Option<Vec<u8>>,
    closing: Closing,
    /// The client's side has ended.
    ended: bool,
    /// How it ended, if it was not as it should; said to the next read.
    fault: Option<FrameError>,
}

/// How far our own side's end is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Closing {
    #[default]
    Open,
    /// The Close is to follow all that waits.
    Owed(Option<u16>),
    Sent,
    /// And the carrier has been shut down behind it.
    Done,
}

impl WebSocket {
    /// Takes in what has been read already. What it carried is left in `early`.
    pub(super) fn begin(carrier: TlsOrTcp<'_>, early: &mut Vec<u8>) -> Self {
        let layer = Self::default();
        let payload = layer.state.borrow_mut().take_in(carrier, early);
        early.truncate(payload);
        layer
    }

    /// Reads what the client's frames carry, 0 behind its Close and at the carrier's end. Fails
    /// with [`io::ErrorKind::InvalidData`] where they are not as they should be; the client has then
    /// been told.
    pub(super) fn try_recv(
        &self,
        carrier: TlsOrTcp<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        for _ in 0..READS_PER_CALL {
            if let Some(fault) = state.fault {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
            }
            if state.ended {
                return Poll::Ready(Ok(0));
            }
            let n = match carrier.try_recv(buf)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(n) => n,
            };
            // Without a Close, MQTT still says where it ends.
            state.ended = n == 0;
            let payload = state.take_in(carrier, &mut buf[..n]);
            if payload > 0 {
                return Poll::Ready(Ok(payload));
            }
        }
        carrier.wake();
        Poll::Pending
    }

    /// Sends a few frames. Pending while the carrier has not taken the last ones.
    pub(super) fn try_send(&self, carrier: TlsOrTcp<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        if state.closing != Closing::Open {
            // Nothing may follow a Close (RFC 6455, section 5.5.1): a client that has sent one hears
            // no more of what its broker says until that ends as well.
            return Poll::Ready(Ok(buf.len()));
        }
        if state.flush(carrier)?.is_pending() {
            return Poll::Pending;
        }
        let taken = &buf[..buf.len().min(BULK_BYTES)];
        let made = &mut *carrier.frames();
        taken.chunks(FRAME_BYTES).for_each(|part| frame::put(made, frame::BINARY, part));
        let mut sent = 0;
        while sent < made.len() {
            match carrier.try_send(&made[sent..])? {
                Poll::Ready(n) => sent += n,
                Poll::Pending if sent == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        state.backlog.keep(&made[sent..]);
        Poll::Ready(Ok(taken.len()))
    }

    /// Gives the carrier the frames that wait.
    pub(super) fn try_flush(&self, carrier: TlsOrTcp<'_>) -> Poll<io::Result<()>> {
        let flushed = self.state.borrow_mut().flush(carrier)?;
        if flushed.is_pending() { Poll::Pending } else { carrier.try_flush() }
    }

    /// Ends our side: a Close behind all that waits, and the carrier's end behind that.
    pub(super) fn shutdown(&self, carrier: TlsOrTcp<'_>) {
        self.state.borrow_mut().close(carrier, Some(frame::NORMAL));
    }
}

impl State {
    /// Takes frames apart in place, and answers those of control; returns the length of the payload.
    fn take_in(&mut self, carrier: TlsOrTcp<'_>, bytes: &mut [u8]) -> usize {
        let decoded = self.decoder.decode(bytes);
        if decoded.ping.is_some() && self.closing == Closing::Open {
            self.pong = decoded.ping;
        }
        match decoded.end {
            None => {
                // A failure shows in the next read.
                let _ = self.flush(carrier);
            }
            Some(StreamEnd::Closed(status)) => {
                self.ended = true;
                self.close(carrier, status);
            }
            Some(StreamEnd::Faulty(fault)) => {
                self.fault = Some(fault);
                self.close(carrier, Some(fault.status()));
            }
        }
        decoded.payload
    }

    fn close(&mut self, carrier: TlsOrTcp<'_>, status: Option<u16>) {
        if self.closing == Closing::Open {
            self.closing = Closing::Owed(status);
        }
        if let Poll::Ready(Err(_)) = self.flush(carrier) {
            // The client is gone, or what carries this has failed: nobody is told, and the carrier
            // ends in its own way. The next read says why.
            self.backlog.clear();
            self.pong = None;
            self.closing = Closing::Done;
            carrier.shutdown();
        }
    }

    /// Writes all that waits, in its order.
    fn flush(&mut self, carrier: TlsOrTcp<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.backlog.flush(|bytes| carrier.try_send(bytes))?.is_pending() {
                return Poll::Pending;
            }
            if let Some(said) = self.pong.take() {
                frame::put(self.backlog.end(), frame::PONG, &said);
                continue;
            }
            match self.closing {
                Closing::Owed(status) => {
                    let status = status.map(u16::to_be_bytes);
                    let status = status.as_ref().map_or(&[][..], |status| &status[..]);
                    frame::put(self.backlog.end(), frame::CLOSE, status);
                    self.closing = Closing::Sent;
                }
                Closing::Sent => {
                    carrier.shutdown();
                    self.closing = Closing::Done;
                }
                Closing::Open | Closing::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}
