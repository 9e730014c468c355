//! Clients that speak another protocol: the detail in their records, for the operators who
//! configured them.

use std::borrow::Cow;

use crate::{
    listener::ListenerSettings,
    proto::first_bytes::{DetectedProtocol, Detection, detect_protocol},
    session::pending::PendingClient,
};

pub(super) const UNTRUSTED_PROXY_HEADER: &str =
    "a PROXY header from a peer that is not within accept_proxy_protocol.from";
const DISABLED_PROXY_HEADER: &str = "a PROXY header, but this listener does not accept them: add the peer to \
     accept_proxy_protocol.from, or stop it from sending one";
const MISPLACED_PROXY_HEADER: &str = "a misplaced PROXY header: after another one, or inside TLS";
const TLS: &str = "a TLS handshake: TLS belongs to a listener with `tls`";
const MQTT: &str = "MQTT without TLS: this listener passes TLS through to its brokers";
const HTTP_WITHOUT_TLS: &str =
    "an HTTP request without TLS: this listener passes TLS through to its brokers";
const HTTP: &str = "an HTTP request: WebSocket belongs to a listener with `websocket`, health checks \
                    and metrics to `admin`";

/// What the buffer holds instead of a CONNECT; `None` if that is unknown.
pub(super) fn recognized(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
) -> Option<Cow<'static, str>> {
    match detect_protocol(&client.buffer) {
        Detection::Protocol(DetectedProtocol::ProxyHeader) => stray_proxy_header(client, settings),
        Detection::Protocol(DetectedProtocol::Tls) if settings.tls.is_some() => {
            Some("a TLS handshake inside TLS".into())
        }
        Detection::Protocol(DetectedProtocol::Tls) => Some(TLS.into()),
        Detection::Protocol(DetectedProtocol::Http) if settings.websocket.is_none() => {
            Some(HTTP.into())
        }
        _ => None,
    }
}

/// What the buffer holds instead of a ClientHello that is to be passed through; `None` if that is
/// unknown.
pub(super) fn in_place_of_client_hello(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
) -> Option<Cow<'static, str>> {
    match detect_protocol(&client.buffer) {
        Detection::Protocol(DetectedProtocol::ProxyHeader) => stray_proxy_header(client, settings),
        Detection::Protocol(DetectedProtocol::Mqtt) => Some(MQTT.into()),
        Detection::Protocol(DetectedProtocol::Http) => Some(HTTP_WITHOUT_TLS.into()),
        _ => None,
    }
}

/// Why the buffer holds a PROXY header instead of a CONNECT or an HTTP request; `None` if it does
/// not.
pub(super) fn stray_proxy_header(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
) -> Option<Cow<'static, str>> {
    let is_one =
        detect_protocol(&client.buffer) == Detection::Protocol(DetectedProtocol::ProxyHeader);
    let record = &client.record;
    let is_first = record.transport.is_none() && record.tls().is_none();
    is_one.then_some(match &settings.proxy_protocol {
        None => DISABLED_PROXY_HEADER.into(),
        Some(_) if is_first => UNTRUSTED_PROXY_HEADER.into(),
        Some(_) => MISPLACED_PROXY_HEADER.into(),
    })
}
