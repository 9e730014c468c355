//! What stands between accept and the first byte of MQTT: a PROXY header, TLS, WebSocket.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use rustls::ServerConfig;

use super::reject::{Rejected, Reply};
use crate::{
    labels::{EndBy, EndCause, EndPhase},
    listener::ListenerSettings,
    net::{Elapsed, TlsError, deadline},
    session::{end::End, handshake::Handshake, record::ListenerRef},
};

/// What a connection takes from its listener when it is accepted. Its session keeps the first.
pub struct AcceptContext {
    pub listener: Rc<ListenerRef>,
    pub settings: Arc<ListenerSettings>,
}

impl Handshake<'_> {
    /// Unwraps the client's connection, step by step, within the one deadline for the whole
    /// handshake. What was read and belongs to MQTT is left in the buffer.
    pub(in crate::session) async fn arrive(&mut self) -> Result<(), Box<Rejected>> {
        let at = self.record.accepted + self.context.timeouts.get().connect_packet;
        let context = self.context.clone();
        let stage = Cell::new(Stage::ProxyHeader);
        let ended = |cause| {
            let end = End::new(EndBy::Proxy, EndPhase::Handshake, cause);
            Err(end.with(stage.get().unfinished()).into())
        };
        let mut unwrapping = pin!(self.unwrap(&stage));
        // Layers know no end of the proxy, and wait for the client alone.
        let unwrapping = pin!(poll_fn(|cx| match context.ending.get() {
            Some(cause) => Poll::Ready(ended(cause)),
            None => unwrapping.as_mut().poll(cx),
        }));
        let unwrapped = deadline(&context.reactor, at, unwrapping).await;
        unwrapped.unwrap_or_else(|Elapsed| ended(EndCause::Timeout)).map_err(Box::new)
    }

    async fn unwrap(&mut self, stage: &Cell<Stage>) -> Result<(), Rejected> {
        let settings = self.settings;
        let peer = self.record.client_ip();
        let is_header_due = settings.proxy_protocol.as_ref().map(|rules| rules.is_from(peer));
        if is_header_due == Some(true) {
            stage.set(Stage::ProxyHeader);
            self.take_proxy_header().await?;
        }
        self.count_by_address()?;
        if is_header_due == Some(false)
            && let Some(next) = first_layer(settings)
        {
            stage.set(next);
            self.refuse_proxy_header().await?;
        }
        if let Some(config) = &settings.tls {
            stage.set(Stage::Tls);
            self.accept_tls(config).await?;
        }
        if let Some(rules) = &settings.websocket {
            stage.set(Stage::WebSocket);
            self.upgrade(rules).await?;
        }
        if !self.pass.is_identified() {
            self.pass.identify(self.record.client_ip())?;
        }
        Ok(())
    }

    /// Counts the client by its address, unless a request for a WebSocket may still name another.
    fn count_by_address(&mut self) -> Result<(), Rejected> {
        let ip = self.record.client_ip();
        let websocket = self.settings.websocket.as_ref();
        let is_forwarder = |ip| websocket.is_some_and(|rules| rules.forwarded_for.contains(ip));
        if !ip.is_some_and(is_forwarder) {
            self.pass.identify(ip)?;
        }
        Ok(())
    }

    async fn accept_tls(&mut self, config: &Arc<ServerConfig>) -> Result<(), Rejected> {
        // What came behind a PROXY header is TLS already.
        let first = std::mem::take(&mut self.buffer);
        let may_hold = self.context.limits.get().connect_packet;
        match self.client.accept_tls(config, first, may_hold).await {
            Ok(facts) => {
                self.record.wrapping.get_or_insert_default().tls = Some(facts);
                Ok(())
            }
            Err(error) => Err(refused(&error)),
        }
    }
}

/// What the bytes of a client begin with, unless that is MQTT.
fn first_layer(settings: &ListenerSettings) -> Option<Stage> {
    match (&settings.tls, &settings.websocket) {
        (Some(_), _) => Some(Stage::Tls),
        (None, Some(_)) => Some(Stage::WebSocket),
        (None, None) => None,
    }
}

/// How a failed TLS handshake is recorded. Its alert has been sent.
fn refused(error: &TlsError) -> Rejected {
    let (by, cause) = match error {
        TlsError::Silent(None) => {
            let end = End::new(EndBy::Client, EndPhase::Handshake, EndCause::Closed);
            return Rejected::unheard(end.with(error.to_string()));
        }
        TlsError::Silent(Some(error)) => {
            return Rejected::unheard(End::failed(EndBy::Client, EndPhase::Handshake, error));
        }
        TlsError::Closed => (EndBy::Client, EndCause::Closed),
        TlsError::Io(error) => {
            return End::failed(EndBy::Client, EndPhase::Handshake, error).into();
        }
        TlsError::Alert(_) => (EndBy::Client, EndCause::Refused),
        TlsError::Certificate(_) => (EndBy::Proxy, EndCause::Refused),
        TlsError::Protocol { .. } | TlsError::Held(_) => (EndBy::Proxy, EndCause::Malformed),
    };
    let end = End::new(by, EndPhase::Handshake, cause).with(error.to_string());
    let answer = (by == EndBy::Proxy).then_some(Reply::Transports);
    Rejected { answer, ..end.into() }
}

/// What a connection has still to show.
#[derive(Clone, Copy)]
enum Stage {
    ProxyHeader,
    Tls,
    WebSocket,
}

impl Stage {
    fn unfinished(self) -> &'static str {
        match self {
            Self::ProxyHeader => "no whole PROXY header was sent",
            Self::Tls => "the TLS handshake was not finished",
            Self::WebSocket => "no whole WebSocket request was sent",
        }
    }
}
