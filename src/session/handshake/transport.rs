//! The layers between accept and the first byte of MQTT: PROXY header, TLS, WebSocket.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{
    access::{self, may_be_forwarded},
    client_rates, proxy_header, tls, websocket,
};
use crate::{
    labels::{EndBy, EndCause, EndPhase},
    limits::ConnectionPermit,
    listener::ListenerSettings,
    net::{Elapsed, deadline},
    session::{end::End, pending::PendingClient, reject::Rejection},
};

/// Unwraps the client's connection layer by layer, within the deadline of the whole handshake.
/// Bytes that were read and belong to MQTT stay in the buffer.
pub(super) async fn unwrap(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    permit: &mut ConnectionPermit,
) -> Result<(), Box<Rejection>> {
    let context = client.context;
    let at = client.record.accepted + context.timeouts.get().connect_packet;
    let layer = Cell::new(Layer::ProxyHeader);
    let ended = |cause| {
        let end = End::new(EndBy::Proxy, EndPhase::Handshake, cause);
        Err(end.with(layer.get().unfinished()).into())
    };
    let mut unwrapping = pin!(unwrap_layers(client, settings, permit, &layer));
    // The layers don't watch for shutdown, so it is checked here.
    let unwrapping = pin!(poll_fn(|cx| match context.ending.get() {
        Some(cause) => Poll::Ready(ended(cause)),
        None => unwrapping.as_mut().poll(cx),
    }));
    let unwrapped = deadline(&context.reactor, at, unwrapping).await;
    unwrapped.unwrap_or_else(|Elapsed| ended(EndCause::Timeout)).map_err(Box::new)
}

async fn unwrap_layers(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    permit: &mut ConnectionPermit,
    layer: &Cell<Layer>,
) -> Result<(), Rejection> {
    let peer = client.record.client_ip();
    let is_header_due = settings.proxy_protocol.as_ref().map(|rules| rules.is_from(peer));
    if is_header_due == Some(true) {
        layer.set(Layer::ProxyHeader);
        let header = proxy_header::read(client).await?;
        client.record.apply_proxy_header(header);
    }
    let is_from_proxy = settings.is_from_proxy(peer);
    if !may_be_forwarded(settings, client.record.client_ip()) {
        access::check(settings, &client.record)?;
        identify(client, permit, is_from_proxy)?;
    }
    if is_header_due == Some(false)
        && let Some(first) = first_layer(settings)
    {
        layer.set(first);
        proxy_header::refuse(client).await?;
    }
    if let Some(config) = &settings.tls {
        layer.set(Layer::Tls);
        let facts = tls::accept(client, config).await?;
        client.record.transport.get_or_insert_default().tls = Some(facts);
    }
    if let Some(rules) = &settings.websocket {
        layer.set(Layer::WebSocket);
        websocket::upgrade(client, settings, rules).await?;
    }
    if !permit.is_identified() {
        identify(client, permit, is_from_proxy)?;
    }
    Ok(())
}

/// Counts the connection by its client's address; those that come directly were counted at accept.
fn identify(
    client: &PendingClient<'_>,
    permit: &mut ConnectionPermit,
    is_from_proxy: bool,
) -> Result<(), Rejection> {
    if is_from_proxy {
        client_rates::admit_named(client)?;
    }
    Ok(permit.identify(client.record.client_ip())?)
}

/// The layer that a client's bytes begin with; `None` for plain MQTT.
fn first_layer(settings: &ListenerSettings) -> Option<Layer> {
    match (&settings.tls, &settings.websocket) {
        (Some(_), _) => Some(Layer::Tls),
        (None, Some(_)) => Some(Layer::WebSocket),
        (None, None) => None,
    }
}

/// The layer that is being unwrapped.
#[derive(Clone, Copy)]
enum Layer {
    ProxyHeader,
    Tls,
    WebSocket,
}

impl Layer {
    fn unfinished(self) -> &'static str {
        match self {
            Self::ProxyHeader => "no complete PROXY header was sent",
            Self::Tls => "the TLS handshake was not finished",
            Self::WebSocket => "no complete WebSocket request was sent",
        }
    }
}
