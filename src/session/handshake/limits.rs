//! A client beyond a limit.

use crate::{
    labels::EndCause,
    limits::{ConnectionLimit, ConnectionPermit},
    session::{
        broker_search::replace_own_session, clients::ReachedLimit, pending::PendingClient,
        reject::Rejection,
    },
};

/// The refusal of a client beyond a limit.
pub(super) fn refuse(client: &PendingClient<'_>, limit: ConnectionLimit) -> Rejection {
    let refused = client.refuse(limit.refusal(), client.check_phase(), EndCause::Limit);
    refused.with(limit.exceeded())
}

/// Lets a client beyond `max_connections_per_ip` replace an older session of its own from the same
/// address; refuses the client if it has no such session.
pub(super) async fn replace_at_limit(
    client: &mut PendingClient<'_>,
    permit: &ConnectionPermit,
) -> Result<(), Rejection> {
    if let Some(address) = permit.counted_address()
        && replace_own_session(client, ReachedLimit::Address(address)).await?
    {
        return Ok(());
    }
    // The older session may have ended in the meantime.
    permit.check().map_err(|limit| refuse(client, limit))
}
