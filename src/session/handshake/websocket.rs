//! The upgrade from HTTP to WebSocket.

use super::{access, wrong_protocol};
use crate::{
    config::WebSocket,
    labels::{EndBy, EndCause, EndPhase},
    listener::ListenerSettings,
    net::{PeerAddress, Stream},
    proto::websocket::request::{self, UpgradeRefusal, UpgradeRequest},
    session::{
        end::End,
        pending::PendingClient,
        reject::{RejectReply, Rejection},
    },
};

/// Answers the client's request; from then on its frames carry MQTT. The record has the client named
/// by a trusted proxy in front.
pub(super) async fn upgrade(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    rules: &WebSocket,
) -> Result<(), Rejection> {
    let request = read_request(client, settings, rules).await?;
    let is_trusted = match client.record.source {
        PeerAddress::Ip(peer) => rules.forwarded_for.contains(peer.ip()),
        PeerAddress::Unix => false,
    };
    if let Some(named) = request.forwarded_for.filter(|_| is_trusted) {
        client.record.set_named_client(named);
    }
    access::check(settings, &client.record)?;
    respond(&client.stream, &request.response()).await?;
    client.buffer.drain(..request.len);
    client.stream.begin_websocket(&mut client.buffer);
    Ok(())
}

async fn read_request(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    rules: &WebSocket,
) -> Result<UpgradeRequest, Rejection> {
    loop {
        match request::parse(&client.buffer, rules) {
            Ok(Some(request)) => return Ok(request),
            Ok(None) => {}
            Err(refusal) => return Err(refuse(client, settings, refusal).await?),
        }
        if client.read_more(request::MAX_HEAD_BYTES, EndPhase::Handshake).await? == 0 {
            let detail = match client.buffer.len() {
                0 => "nothing was sent".into(),
                n => format!("incomplete WebSocket request: only {n} bytes were sent").into(),
            };
            return Err(client.closed_early(EndPhase::Handshake, detail));
        }
    }
}

async fn refuse(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    refusal: UpgradeRefusal,
) -> Result<Rejection, End> {
    respond(&client.stream, &refusal.response()).await?;
    let cause = if refusal.is_forbidden() { EndCause::Refused } else { EndCause::Malformed };
    let detail = wrong_protocol::stray_proxy_header(client, settings).unwrap_or(refusal.detail);
    let end = End::new(EndBy::Proxy, EndPhase::Handshake, cause).with(detail);
    Ok(Rejection { reply: Some(RejectReply::Transport), ..end.into() })
}

async fn respond(stream: &Stream, response: &str) -> Result<(), End> {
    let sent = stream.send_all(response.as_bytes()).await;
    sent.map_err(|error| End::failed(EndBy::Client, EndPhase::Handshake, &error))
}
