//! Clients of another protocol: what the record says of them, for those who sent them here.

use std::borrow::Cow;

use crate::{
    proto::first_bytes::{DetectedProtocol, Detection, detect_protocol},
    session::handshake::Handshake,
};

impl Handshake<'_> {
    /// What bytes that were to be a CONNECT are in truth; `None` where nobody knows.
    pub(in crate::session) async fn stray(&mut self) -> Option<Cow<'static, str>> {
        self.client.read_protocol_prefix(&mut self.buffer).await;
        let (tls, websocket) = (&self.settings.tls, &self.settings.websocket);
        match detect_protocol(&self.buffer) {
            Detection::Protocol(DetectedProtocol::ProxyHeader) => self.stray_proxy_header(),
            Detection::Protocol(DetectedProtocol::Tls) if tls.is_some() => {
                Some("a TLS handshake inside TLS".into())
            }
            Detection::Protocol(DetectedProtocol::Tls) => Some(TLS.into()),
            Detection::Protocol(DetectedProtocol::Http) if websocket.is_none() => Some(HTTP.into()),
            _ => None,
        }
    }
}

const TLS: &str = "a TLS handshake: TLS belongs to a listener with `tls`";
const HTTP: &str = "an HTTP request: WebSocket belongs to a listener with `websocket`, health checks \
                    and metrics to `admin`";
