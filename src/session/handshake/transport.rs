//! The layers between accept and the first byte of MQTT: PROXY header, TLS, WebSocket; or the
//! PROXY header and the ClientHello that precede TLS that is passed through.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{
    access::{self, may_be_forwarded},
    client_hello, client_rates, proxy_header, tls, websocket,
};
use crate::{
    config::WebSocket,
    labels::{EndBy, EndCause, EndPhase},
    limits::ConnectionPermit,
    listener::ListenerSettings,
    net::{Elapsed, deadline},
    session::{end::End, pending::PendingClient, reject::Rejection},
};

const NOTHING_SENT: &str = "nothing was sent";

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
    let is_trusted = settings.proxy_protocol.as_ref().map(|rules| rules.is_from(peer));
    if let Some(rules) = settings.proxy_protocol.as_ref().filter(|rules| rules.is_from(peer)) {
        layer.set(if rules.required { Layer::ProxyHeader } else { Layer::OptionalProxyHeader });
        proxy_header::accept(client, rules).await?;
    }
    let is_from_proxy = settings.is_from_proxy(peer);
    if !may_be_forwarded(settings, client.record.client_ip()) {
        access::check(settings, &client.record)?;
        identify(client, permit, is_from_proxy)?;
    }
    if is_trusted == Some(false)
        && let Some(first) = first_layer(settings)
    {
        layer.set(first);
        proxy_header::refuse(client).await?;
    }
    if let Some(config) = &settings.tls {
        layer.set(Layer::Tls);
        let facts = tls::accept(client, config).await?;
        client.record.set_tls(facts);
    }
    if settings.passes_tls_through() {
        layer.set(Layer::ClientHello);
        client_hello::read(client, settings).await?;
    }
    if let Some(rules) = &settings.websocket
        && (!settings.mqtt || chooses_websocket(client, rules, layer).await?)
    {
        layer.set(Layer::WebSocket);
        websocket::upgrade(client, settings, rules).await?;
    }
    if !permit.is_identified() {
        // A trusted HTTP proxy may also have spoken MQTT itself, and have named no other client.
        access::check(settings, &client.record)?;
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

/// Whether the client speaks WebSocket, where it may also speak MQTT itself.
///
/// Its first byte decides: a request begins with its method, a token in capital letters (RFC 9110,
/// section 9.1), and a connection of MQTT with 0x10 (MQTT 5.0, section 3.1.1).
async fn chooses_websocket(
    client: &mut PendingClient<'_>,
    rules: &WebSocket,
    layer: &Cell<Layer>,
) -> Result<bool, Rejection> {
    layer.set(Layer::MqttOrWebSocket);
    if client.buffer.is_empty() && client.read_more(rules.max_head, EndPhase::Handshake).await? == 0
    {
        return Err(client.closed_early(EndPhase::Handshake, NOTHING_SENT.into()));
    }
    let is_request = client.buffer.first().is_some_and(u8::is_ascii_uppercase);
    if is_request {
        client.record.transport.get_or_insert_default().chose_websocket = true;
    }
    Ok(is_request)
}

/// The layer that a client's bytes begin with; `None` for plain MQTT.
fn first_layer(settings: &ListenerSettings) -> Option<Layer> {
    match (&settings.tls, &settings.websocket, settings.mqtt) {
        _ if settings.passes_tls_through() => Some(Layer::ClientHello),
        (Some(_), ..) => Some(Layer::Tls),
        (None, Some(_), false) => Some(Layer::WebSocket),
        (None, Some(_), true) => Some(Layer::MqttOrWebSocket),
        (None, None, _) => None,
    }
}

/// The layer that is being unwrapped.
#[derive(Clone, Copy)]
enum Layer {
    ProxyHeader,
    OptionalProxyHeader,
    Tls,
    ClientHello,
    WebSocket,
    /// The first byte tells which.
    MqttOrWebSocket,
}

impl Layer {
    fn unfinished(self) -> &'static str {
        match self {
            Self::ProxyHeader => "no complete PROXY header was sent",
            Self::OptionalProxyHeader => "nothing was sent, or an incomplete PROXY header",
            Self::Tls => "the TLS handshake was not finished",
            Self::ClientHello => "no complete ClientHello was sent",
            Self::WebSocket => "no complete WebSocket request was sent",
            Self::MqttOrWebSocket => NOTHING_SENT,
        }
    }
}
