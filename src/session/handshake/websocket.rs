//! The step from HTTP to WebSocket.

use super::reject::{Rejected, Reply};
use crate::{
    config::WebSocket,
    labels::{EndBy, EndCause, EndPhase},
    net::PeerAddress,
    proto::websocket::request::{self, UpgradeRequest},
    session::{end::End, handshake::Handshake},
};

impl Handshake<'_> {
    /// Answers the client's request; from then on its frames carry MQTT.
    pub(in crate::session) async fn upgrade(&mut self, rules: &WebSocket) -> Result<(), Rejected> {
        let request = self.read_request(rules).await?;
        self.respond(&request.response()).await?;
        self.buffer.drain(..request.len);
        self.client.begin_websocket(&mut self.buffer);
        self.identify(&request, rules);
        Ok(())
    }

    async fn read_request(&mut self, rules: &WebSocket) -> Result<UpgradeRequest, Rejected> {
        loop {
            match request::parse(&self.buffer, rules) {
                Ok(Some(request)) => return Ok(request),
                Ok(None) => {}
                Err(refusal) => {
                    self.respond(&refusal.response()).await?;
                    let cause = if refusal.is_forbidden() {
                        EndCause::Refused
                    } else {
                        EndCause::Malformed
                    };
                    let end = End::new(EndBy::Proxy, EndPhase::Handshake, cause);
                    let end = end.with(self.stray_proxy_header().unwrap_or(refusal.detail));
                    return Err(Rejected { answer: Some(Reply::Transports), ..end.into() });
                }
            }
            if self.read_more(request::MAX_HEAD_BYTES, EndPhase::Handshake).await? == 0 {
                let end = End::new(EndBy::Client, EndPhase::Handshake, EndCause::Closed);
                let detail = match self.buffer.len() {
                    0 => "nothing was sent".into(),
                    n => format!("{n} bytes of a WebSocket request were sent, and no more").into(),
                };
                return Err(self.ended(End { detail: Some(detail), ..end }));
            }
        }
    }

    async fn respond(&self, response: &str) -> Result<(), End> {
        let sent = self.client.send_all(response.as_bytes()).await;
        sent.map_err(|error| End::failed(EndBy::Client, EndPhase::Handshake, &error))
    }

    /// Takes the client for whom a trusted proxy says that it is.
    fn identify(&mut self, request: &UpgradeRequest, rules: &WebSocket) {
        let PeerAddress::Ip(peer) = self.record.source else { return };
        if let Some(client) = request.forwarded_for
            && rules.forwarded_for.contains(peer.ip())
        {
            self.record.source = PeerAddress::Ip(client);
            let wrapping = self.record.wrapping.get_or_insert_default();
            wrapping.peer.get_or_insert(peer);
        }
    }
}
