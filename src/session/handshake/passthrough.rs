//! A client whose TLS is passed through: from its ClientHello to the relay, without a CONNECT.

use super::{
    establish::{RelayStart, pass_through},
    limits, quotas,
};
use crate::{
    limits::ConnectionPermit,
    session::{
        accept_context::AcceptContext,
        broker_search::{Opening, find_broker},
        destination::{apply_rules, note_outdated_rules, rules_version},
        pending::PendingClient,
        reject::Rejection,
    },
};

/// Finds a broker for the client, whose ClientHello is at the start of the buffer.
///
/// A client that no broker takes is not sent an alert: its connection is closed, as nginx and
/// HAProxy do.
pub(super) async fn connect(
    client: &mut PendingClient<'_>,
    accepted: &AcceptContext,
    permit: &mut ConnectionPermit,
) -> Result<RelayStart, Rejection> {
    permit.check().map_err(|limit| limits::refuse(client, limit))?;
    let decided_at = rules_version(accepted);
    apply_rules(client, accepted, None)?;
    if permit.has_quotas() {
        quotas::enter(client, permit).await?;
    }
    let answer = find_broker(client, Opening::ClientHello).await?;
    // A ban that came since accept ends sessions, of which this is not one yet.
    client.check_bans()?;
    note_outdated_rules(client, accepted, decided_at);
    // The limits may have changed since accept; later changes recount the session with all others.
    permit.recount();
    permit.recount_quotas(|| client.record.fields());
    Ok(pass_through(client, &accepted.settings, answer))
}
