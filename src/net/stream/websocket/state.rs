//! The state of a WebSocket layer in a form that another process can continue.

use std::{cell::RefCell, num::NonZeroU32};

use serde::{Deserialize, Serialize};

use super::{CloseState, FramingState, PingTimer, WebSocketLayer};
use crate::{
    net::stream::backlog::Backlog,
    proto::websocket::frame::{FrameDecoder, FrameError, MAX_CONTROL_BYTES},
};

/// What a [`WebSocketLayer`] remembers of its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WebSocketState {
    decoder: FrameDecoder,
    /// Frames that the carrier has not taken.
    backlog: Vec<u8>,
    pong: Option<Vec<u8>>,
    close: CloseState,
    ping_every: Option<NonZeroU32>,
    has_sent: bool,
    /// The seconds since `quiet_since`.
    quiet_for: u32,
    unanswered_pings: u8,
    ended: bool,
    fault: Option<FrameError>,
}

impl WebSocketLayer {
    /// Its state in this second, as counted for [`Self::ping_if_quiet`].
    pub(in crate::net::stream) fn capture(&self, second: u32) -> WebSocketState {
        let FramingState { decoder, backlog, pong, close, pings, ended, fault } =
            &*self.state.borrow();
        let PingTimer { every, has_sent, quiet_since, unanswered } = pings;
        WebSocketState {
            decoder: decoder.clone(),
            backlog: backlog.bytes().to_vec(),
            pong: pong.clone(),
            close: *close,
            ping_every: *every,
            has_sent: *has_sent,
            quiet_for: second.saturating_sub(*quiet_since),
            unanswered_pings: *unanswered,
            ended: *ended,
            fault: *fault,
        }
    }

    /// Continues what another process has [captured](Self::capture); `None` if no layer can be in
    /// this state. `second`: the current one.
    pub(in crate::net::stream) fn restore(state: WebSocketState, second: u32) -> Option<Self> {
        let WebSocketState { decoder, backlog, pong, close, ping_every, has_sent, .. } = state;
        let WebSocketState { quiet_for, unanswered_pings, ended, fault, .. } = state;
        let is_long = pong.as_ref().is_some_and(|pong| pong.len() > MAX_CONTROL_BYTES);
        if is_long || !decoder.is_possible() {
            return None;
        }
        let pings = PingTimer {
            every: ping_every,
            has_sent,
            quiet_since: second.saturating_sub(quiet_for),
            unanswered: unanswered_pings,
        };
        let backlog = Backlog::new(backlog);
        let state = FramingState { decoder, backlog, pong, close, pings, ended, fault };
        Some(Self { state: RefCell::new(state) })
    }
}
