//! A client beyond a limit.

use crate::{
    labels::{EndCause, EndPhase},
    limits::{ConnectionLimit, ConnectionPermit},
    session::{
        broker_search::replace_own_session, clients::ReachedLimit, pending::PendingClient,
        reject::Rejection,
    },
};

/// Lets a client beyond `max_connections_per_ip` replace an older session of its own from the same
/// address; refuses the client if it has no such session, or if another limit is exceeded.
pub(super) async fn replace_at_limit(
    client: &mut PendingClient<'_>,
    permit: &ConnectionPermit,
    mut limit: ConnectionLimit,
) -> Result<(), Rejection> {
    if limit == ConnectionLimit::ConnectionsPerIp
        && let Some(address) = permit.counted_address()
    {
        if replace_own_session(client, ReachedLimit::Address(address)).await? {
            return Ok(());
        }
        // The older session may have ended in the meantime.
        match permit.check() {
            Ok(()) => return Ok(()),
            Err(now) => limit = now,
        }
    }
    let refused = client.refuse(limit.refusal(), EndPhase::Connect, EndCause::Limit);
    Err(refused.with(limit.exceeded()))
}
