//! The upgrade from HTTP to WebSocket.

use super::{access, incomplete::incomplete, wrong_protocol};
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

/// The longest head that is parsed with every read.
const CHEAP_HEAD_BYTES: usize = 8 * 1024;

/// Answers the client's request; from then on its frames carry MQTT. The record has the client named
/// by a trusted proxy in front.
pub(super) async fn upgrade(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    rules: &WebSocket,
) -> Result<(), Rejection> {
    let request = read_request(client, settings, rules).await?;
    client.record.transport.get_or_insert_default().path = Some(request.path.clone());
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
    client.stream.begin_websocket(&mut client.buffer, rules.ping);
    Ok(())
}

async fn read_request(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    rules: &WebSocket,
) -> Result<UpgradeRequest, Rejection> {
    let mut seen_bytes = 0;
    loop {
        if is_worth_parsing(&client.buffer, seen_bytes, rules) {
            match request::parse(&client.buffer, rules) {
                Ok(Some(request)) => return Ok(request),
                Ok(None) => {}
                Err(refusal) => return Err(refuse(client, settings, refusal).await?),
            }
        }
        seen_bytes = client.buffer.len();
        if client.read_more(rules.max_head, EndPhase::Handshake).await? == 0 {
            let detail = incomplete("WebSocket request", &client.buffer);
            return Err(client.closed_early(EndPhase::Handshake, detail));
        }
    }
}

/// Whether to parse a head of which `seen_bytes` were there before.
///
/// Each time begins at the first byte, so that a client which sends a long head in small pieces costs
/// the square of its length. Beyond [`CHEAP_HEAD_BYTES`], a head is therefore parsed when it ends or
/// has reached the limit.
fn is_worth_parsing(head: &[u8], seen_bytes: usize, rules: &WebSocket) -> bool {
    // The end of a line and an empty line (RFC 9112, section 2.1), also in the form that is refused.
    let new = head.get(seen_bytes.saturating_sub(2)..).unwrap_or_default();
    let ends = || {
        new.windows(2).any(|bytes| bytes == b"\n\n")
            || new.windows(3).any(|bytes| bytes == b"\n\r\n")
    };
    head.len() <= CHEAP_HEAD_BYTES || head.len() >= rules.max_head || ends()
}

async fn refuse(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    refusal: UpgradeRefusal,
) -> Result<Rejection, End> {
    respond(&client.stream, &refusal.response()).await?;
    let cause = if refusal.is_forbidden() { EndCause::Refused } else { EndCause::Malformed };
    let detail = wrong_protocol::stray_proxy_header(client, settings).unwrap_or_else(|| {
        match refusal.path {
            None => refusal.detail,
            Some(path) => format!("{}: {path}", refusal.detail).into(),
        }
    });
    let end = End::new(EndBy::Proxy, EndPhase::Handshake, cause).with(detail);
    Ok(Rejection { reply: Some(RejectReply::Transport), ..end.into() })
}

async fn respond(stream: &Stream, response: &str) -> Result<(), End> {
    let sent = stream.send_all(response.as_bytes()).await;
    sent.map_err(|error| End::failed(EndBy::Client, EndPhase::Handshake, &error))
}
