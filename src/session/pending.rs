//! A client whose session has not begun yet.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::Poll,
};

use super::{
    ban_check::find_ban,
    clients::ReplacedSession,
    context::{READ_BYTES, WorkerContext},
    end::End,
    record::Record,
    reject::{RejectReply, Rejection, describe_ban},
};
use crate::{
    labels::{EndBy, EndCause, EndPhase},
    net::Stream,
    proto::mqtt::RejectReason,
};

/// A client whose session has not begun yet: its connection, the bytes read from it, and its
/// record.
pub(crate) struct PendingClient<'a> {
    pub(crate) context: &'a Rc<WorkerContext>,
    pub(crate) stream: Stream,
    pub(crate) record: Record,
    /// Bytes that were read and not consumed: finally the CONNECT and what followed it.
    pub(crate) buffer: Vec<u8>,
    /// The lengths of the CONNECT that the client sent and of the one that replaced it in the buffer;
    /// 0 if none did.
    pub(crate) rewritten: (u32, u32),
    /// The client's older sessions that its new one replaces.
    pub(crate) replaced: Vec<ReplacedSession>,
}

impl PendingClient<'_> {
    /// Replaces the CONNECT at the start of the buffer, of `len` bytes, by the one for the broker.
    pub(crate) fn replace_connect(&mut self, len: usize, packet: &[u8]) {
        self.rewritten = (len as u32, packet.len() as u32);
        self.buffer.splice(..len.min(self.buffer.len()), packet.iter().copied());
    }

    /// The bytes of the buffer, as the client sent them.
    pub(crate) fn received_bytes(&self) -> usize {
        let (sent, now) = self.rewritten;
        (self.buffer.len() + sent as usize).saturating_sub(now as usize)
    }

    /// Reads once, without growing the buffer beyond `limit` bytes; 0 if the client has closed its
    /// side.
    pub(crate) async fn read_more(
        &mut self,
        limit: usize,
        phase: EndPhase,
    ) -> Result<usize, Rejection> {
        let context = self.context;
        let room = limit.saturating_sub(self.buffer.len());
        let (stream, buffer) = (&self.stream, &mut self.buffer);
        let read = poll_fn(|cx| {
            if let Some(cause) = context.ending.get() {
                return Poll::Ready(Err(End::new(EndBy::Proxy, phase, cause)));
            }
            let scratch = &mut *context.scratch.lend();
            let size = room.min(READ_BYTES);
            let read = scratch.receive(size, |room| stream.poll_recv(cx, room));
            buffer.extend_from_slice(scratch.bytes());
            read.map_err(|error| End::failed(EndBy::Client, phase, &error))
        })
        .await;
        read.map_err(|end| self.read_failed(end))
    }

    /// The rejection when reading from the client has ended the connection.
    pub(crate) fn read_failed(&self, end: End) -> Rejection {
        let has_sent = !self.buffer.is_empty() || self.stream.plain().is_none();
        if has_sent { Rejection::after_read(end) } else { Rejection::before_first_byte(end) }
    }

    /// The rejection of a client that closed its side before its message was complete.
    pub(crate) fn closed_early(&self, phase: EndPhase, detail: Cow<'static, str>) -> Rejection {
        self.read_failed(End::new(EndBy::Client, phase, EndCause::Closed).with(detail))
    }

    /// Runs `work` until the client's connection breaks or the worker ends its handshakes. A client
    /// that has only closed its own side may still wait for an answer.
    pub(crate) async fn while_connected<T>(
        &self,
        phase: EndPhase,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, End> {
        poll_fn(|cx| {
            self.stream.watch(cx);
            if let Some(cause) = self.context.ending.get() {
                return Poll::Ready(Err(End::new(EndBy::Proxy, phase, cause)));
            }
            if self.stream.is_broken() {
                return Poll::Ready(Err(End::new(EndBy::Client, phase, EndCause::Reset)));
            }
            work.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// The phase in which the client is checked before a broker is chosen: the last that was read.
    pub(crate) fn check_phase(&self) -> EndPhase {
        if self.record.is_passed_through() { EndPhase::Handshake } else { EndPhase::Connect }
    }

    /// Checks the bans in force.
    ///
    /// # Errors
    /// The client is banned.
    pub(crate) fn check_bans(&self) -> Result<(), Rejection> {
        let Some(ban) = find_ban(self.context, &self.record) else { return Ok(()) };
        self.context.metrics().limits().count_refused(ban.kind);
        let refused = self.refuse(RejectReason::Banned, self.check_phase(), EndCause::Banned);
        Err(refused.with(describe_ban(&ban)))
    }

    /// A rejection with the proxy's own CONNACK.
    pub(crate) fn refuse(
        &self,
        refuse: RejectReason,
        phase: EndPhase,
        cause: EndCause,
    ) -> Rejection {
        self.refuse_with(refuse, End::new(EndBy::Proxy, phase, cause))
    }

    /// A rejection with the proxy's own CONNACK, for this end.
    pub(crate) fn refuse_with(&self, refuse: RejectReason, end: End) -> Rejection {
        let version = self.record.client.as_ref().map(|client| client.version);
        let reply = version.map(|version| RejectReply::Proxy(refuse.connack(version)));
        Rejection { reply, ..end.into() }
    }

    /// The rejection when the search ended: a client that is still connected is refused.
    pub(crate) fn search_ended(&self, end: End) -> Rejection {
        match end.by {
            EndBy::Client => end.into(),
            EndBy::Upstream | EndBy::Proxy => {
                self.refuse_with(RejectReason::ServerUnavailable, end)
            }
        }
    }
}
