//! Reading the CONNECT.

use std::pin::pin;

use super::{incomplete::incomplete, wrong_protocol};
use crate::{
    labels::{EndBy, EndCause, EndPhase},
    listener::ListenerSettings,
    net::deadline,
    proto::mqtt::{Connect, InvalidConnect, Progress, connect},
    session::{
        end::End,
        pending::PendingClient,
        reject::{RejectReply, Rejection},
    },
};

/// Reads the CONNECT, before the deadline of the handshake and within the size limit. It stays in
/// the buffer, with what followed it.
pub(super) async fn read(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
) -> Result<Connect, Rejection> {
    let context = client.context;
    let at = client.record.accepted + context.timeouts.get().connect_packet;
    let Ok(read) = deadline(&context.reactor, at, pin!(read_packet(client, settings))).await else {
        let end = End::new(EndBy::Proxy, EndPhase::Connect, EndCause::Timeout);
        return Err(end.with(incomplete("CONNECT", &client.buffer)).into());
    };
    read
}

async fn read_packet(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
) -> Result<Connect, Rejection> {
    let limit = client.context.limits.get().connect_packet;
    let mut need = 1;
    loop {
        while client.buffer.len() < need {
            if client.read_more(limit, EndPhase::Connect).await? == 0 {
                return Err(
                    client.closed_early(EndPhase::Connect, incomplete("CONNECT", &client.buffer))
                );
            }
        }
        match connect::parse(&client.buffer, limit, settings.strictness) {
            Ok(Progress::Complete(connect)) => return Ok(connect),
            Ok(Progress::Incomplete { need: more }) => need = more,
            // Boxed, as it would otherwise enlarge every handshake.
            Err(error) => return Err(Box::pin(malformed(client, settings, error)).await),
        }
    }
}

async fn malformed(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    error: InvalidConnect,
) -> Rejection {
    client.stream.read_protocol_prefix(&mut client.buffer).await;
    let detail = wrong_protocol::recognized(client, settings)
        .unwrap_or_else(|| error.reason.to_string().into());
    let end = End::new(EndBy::Proxy, EndPhase::Connect, EndCause::Malformed).with(detail);
    Rejection { reply: error.connack().map(RejectReply::Proxy), ..end.into() }
}
