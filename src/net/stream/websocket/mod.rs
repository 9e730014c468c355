//! MQTT over WebSocket (MQTT 5.0, section 6) as a layer: MQTT above, frames below.

mod state;

pub(super) use state::WebSocketState;

use std::{cell::RefCell, io, num::NonZeroU32, task::Poll};

use super::{backlog::Backlog, tls_or_tcp::TlsOrTcp};
use crate::{
    net::BULK_BYTES,
    proto::websocket::frame::{self, FrameDecoder, FrameError, StreamEnd},
};

/// Payload of the longest frame that is sent: small clients buffer a whole frame.
const FRAME_BYTES: usize = 16 * 1024;

/// Reads per call that may yield no payload, before other tasks run.
const READS_PER_CALL: usize = 8;

/// Pings in a row after which a client that has sent nothing is gone: more than one, so that a client
/// that is busy or changes its network for a moment is not ended.
const MAX_UNANSWERED_PINGS: u8 = 2;

/// Whether an idle client was sent a Ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ping {
    NotDue,
    Sent,
    /// None was sent, because nothing has arrived since the last [`MAX_UNANSWERED_PINGS`].
    Unanswered,
}

/// The server's side of a WebSocket connection.
pub(super) struct WebSocketLayer {
    state: RefCell<FramingState>,
}

#[derive(Default)]
struct FramingState {
    decoder: FrameDecoder,
    /// Frames that the carrier has not taken: those of one write, and a few control frames.
    backlog: Backlog,
    /// The payload of the newest Ping that has not been answered.
    pong: Option<Vec<u8>>,
    close: CloseState,
    pings: PingTimer,
    /// Whether the client's side has ended.
    ended: bool,
    /// The client's violation of the protocol, which the next read reports.
    fault: Option<FrameError>,
}

/// The state of our Close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum CloseState {
    #[default]
    Open,
    /// The Close frame follows the backlog.
    Pending(Option<u16>),
    Sent,
    /// The carrier has been shut down after the Close.
    Done,
}

impl WebSocketLayer {
    /// `early`: bytes that have already been read; replaced by their payload. `ping`: the seconds of
    /// [`Self::ping_if_quiet`]; `None`: never.
    pub(super) fn new(
        carrier: TlsOrTcp<'_>,
        early: &mut Vec<u8>,
        ping: Option<NonZeroU32>,
    ) -> Self {
        let pings = PingTimer { every: ping, has_sent: true, ..PingTimer::default() };
        let layer = Self { state: RefCell::new(FramingState { pings, ..FramingState::default() }) };
        let payload = layer.state.borrow_mut().decode(carrier, early);
        early.truncate(payload);
        layer
    }

    /// Reads the payload of the client's frames; 0 after its Close and at the carrier's end. Fails
    /// with [`io::ErrorKind::InvalidData`] for invalid frames, which have then been answered with a
    /// Close.
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
            // Without a Close, MQTT still marks its own end.
            state.ended = n == 0;
            state.pings.unanswered = 0;
            let payload = state.decode(carrier, &mut buf[..n]);
            if payload > 0 {
                return Poll::Ready(Ok(payload));
            }
        }
        carrier.wake();
        Poll::Pending
    }

    /// Sends a few frames. Pending until the carrier has taken the previous ones.
    pub(super) fn try_send(&self, carrier: TlsOrTcp<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        if state.close != CloseState::Open {
            // Nothing may follow a Close (RFC 6455, section 5.5.1): what the broker still sends is
            // dropped.
            return Poll::Ready(Ok(buf.len()));
        }
        if state.flush(carrier)?.is_pending() {
            return Poll::Pending;
        }
        state.pings.has_sent = true;
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

    /// Writes the frames that wait to the carrier.
    pub(super) fn try_flush(&self, carrier: TlsOrTcp<'_>) -> Poll<io::Result<()>> {
        let flushed = self.state.borrow_mut().flush(carrier)?;
        if flushed.is_pending() { Poll::Pending } else { carrier.try_flush() }
    }

    /// Sends a Ping (RFC 6455, section 5.5.2) if the client has been sent nothing for long enough,
    /// and has not left the last ones unanswered. Called once a second with the current one.
    ///
    /// A Ping follows whole frames, and waits like them if the carrier does not take it.
    pub(super) fn ping_if_quiet(&self, carrier: TlsOrTcp<'_>, second: u32) -> Ping {
        let state = &mut *self.state.borrow_mut();
        // Frames that wait are data on their way.
        let is_idle = state.close == CloseState::Open && !state.ended && state.backlog.is_empty();
        if !state.pings.is_due(second) || !is_idle || carrier.socket.is_broken() {
            return Ping::NotDue;
        }
        // A session that waits for its broker does not read from its client.
        if carrier.socket.may_recv() {
            state.pings.unanswered = 0;
        }
        if state.pings.unanswered == MAX_UNANSWERED_PINGS {
            return Ping::Unanswered;
        }
        state.pings.unanswered += 1;
        frame::put(state.backlog.end(), frame::PING, b"");
        // The next read reports a failure.
        if state.flush(carrier).is_ready() {
            let _ = carrier.try_flush();
        }
        Ping::Sent
    }

    /// Ends our side: sends a Close after the backlog, then shuts the carrier down.
    pub(super) fn shutdown(&self, carrier: TlsOrTcp<'_>) {
        self.state.borrow_mut().close(carrier, Some(frame::NORMAL));
    }
}

/// When a client that is sent nothing is sent a Ping. It is asked once a second, so that sending
/// needs no clock.
#[derive(Default)]
struct PingTimer {
    /// Seconds without data; `None`: never.
    every: Option<NonZeroU32>,
    /// Whether frames were sent since it was last asked.
    has_sent: bool,
    /// The second in which it was first asked after frames were sent.
    quiet_since: u32,
    /// Pings since bytes last arrived. Any bytes are an answer: an endpoint may answer only the
    /// newest Ping (RFC 6455, section 5.5.3), and one that sends data is there.
    unanswered: u8,
}

impl PingTimer {
    fn is_due(&mut self, second: u32) -> bool {
        let Some(every) = self.every else { return false };
        if std::mem::take(&mut self.has_sent) {
            self.quiet_since = second;
        }
        let is_due = second.saturating_sub(self.quiet_since) >= every.get();
        if is_due {
            self.quiet_since = second;
        }
        is_due
    }
}

impl FramingState {
    /// Decodes frames in place and answers control frames; returns the length of the payload.
    fn decode(&mut self, carrier: TlsOrTcp<'_>, bytes: &mut [u8]) -> usize {
        let decoded = self.decoder.decode(bytes);
        if decoded.ping.is_some() && self.close == CloseState::Open {
            self.pong = decoded.ping;
        }
        match decoded.end {
            None => {
                // The next read reports a failure.
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
        if self.close == CloseState::Open {
            self.close = CloseState::Pending(status);
        }
        if let Poll::Ready(Err(_)) = self.flush(carrier) {
            // The client is gone, or the carrier has failed, so a Close cannot be sent. The next
            // read reports why.
            self.backlog.clear();
            self.pong = None;
            self.close = CloseState::Done;
            carrier.shutdown();
        }
    }

    /// Writes the backlog, in order.
    fn flush(&mut self, carrier: TlsOrTcp<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.backlog.flush(|bytes| carrier.try_send(bytes))?.is_pending() {
                return Poll::Pending;
            }
            if let Some(payload) = self.pong.take() {
                self.pings.has_sent = true;
                frame::put(self.backlog.end(), frame::PONG, &payload);
                continue;
            }
            match self.close {
                CloseState::Pending(status) => {
                    let status = status.map(u16::to_be_bytes);
                    let status = status.as_ref().map_or(&[][..], |status| &status[..]);
                    frame::put(self.backlog.end(), frame::CLOSE, status);
                    self.close = CloseState::Sent;
                }
                CloseState::Sent => {
                    carrier.shutdown();
                    self.close = CloseState::Done;
                }
                CloseState::Open | CloseState::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}
