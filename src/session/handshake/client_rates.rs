//! Clients that connect too often, or that fail to log in.

use crate::{
    labels::{BanReason, EndCause, EndPhase},
    limits::{AddressRefusal, ConnectTooFast, ConnectionPermit},
    net::PeerAddress,
    proto::mqtt::{RejectReason, reason::is_bad_credentials},
    session::{
        ban_log::log_ban,
        context::WorkerContext,
        pending::PendingClient,
        record::Record,
        reject::{RejectReply, Rejection},
    },
};

/// Counts the connection by the address of its client, which a proxy in front has named. (Others are
/// counted at accept.)
pub(super) fn admit_named(client: &PendingClient<'_>) -> Result<(), Rejection> {
    let context = client.context;
    let Some(ip) = client.record.client_ip() else { return Ok(()) };
    context.limiter.rates.admit(ip, context.reactor.now()).map_err(|refusal| {
        if let AddressRefusal::Handshakes(Some(ban)) = &refusal {
            log_ban(&client.record, ban);
        }
        refusal.into()
    })
}

/// Counts a CONNECT by the names that its broker is sent. Assigned client IDs do not count, as each
/// is new.
pub(super) fn count_connect(client: &PendingClient<'_>) -> Result<(), Rejection> {
    let (context, record) = (client.context, &client.record);
    let Some(info) = &record.client else { return Ok(()) };
    let is_own = |id: &&str| !id.is_empty() && record.assigned_client_id().is_none();
    let id = Some(info.client_id()).filter(is_own);
    let counted = context.limiter.rates.count_connect(id, info.username(), context.reactor.now());
    counted.map_err(|ConnectTooFast { rate, ban }| {
        if let Some(ban) = &ban {
            log_ban(record, ban);
        }
        let reason = RejectReason::ConnectionRateExceeded;
        client.refuse(reason, EndPhase::Connect, EndCause::Limit).with(match rate {
            BanReason::ConnectsPerUsername => "faster than connects_per_username",
            _ => "faster than connects_per_client_id",
        })
    })
}

/// Counts a client that the proxy or a broker has refused for its credentials.
pub(super) fn count_bad_credentials(
    context: &WorkerContext,
    record: &Record,
    permit: &ConnectionPermit,
) {
    // Before a proxy in front has named the client, the address is that of the proxy.
    let PeerAddress::Ip(client) = record.source else { return };
    if !permit.is_identified() {
        return;
    }
    let now = context.reactor.now();
    if let Some(ban) = context.limiter.rates.count_bad_credentials(client.ip(), now) {
        log_ban(record, &ban);
    }
}

/// Whether a client was refused for its credentials.
pub(super) fn has_bad_credentials(record: &Record, rejection: &Rejection) -> bool {
    let is_by_broker = matches!(rejection.reply, Some(RejectReply::Broker(_)));
    rejection.has_bad_credentials || (is_by_broker && is_refused_by_broker(record))
}

/// Whether the broker's CONNACK refuses the client's credentials.
pub(super) fn is_refused_by_broker(record: &Record) -> bool {
    record.connack.as_ref().is_some_and(|connack| is_bad_credentials(connack.version, connack.code))
}
