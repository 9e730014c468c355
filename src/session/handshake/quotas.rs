//! The quotas that count a client.

use std::sync::Arc;

use crate::{
    labels::EndCause,
    limits::ConnectionPermit,
    proto::mqtt::RejectReason,
    session::{
        broker_search::replace_own_session, clients::ReachedLimit, pending::PendingClient,
        reject::Rejection,
    },
};

/// Counts the client in the quotas. Where they are full, the client may replace an older session of
/// its own that counts in them; otherwise it is refused.
pub(super) async fn enter(
    client: &mut PendingClient<'_>,
    permit: &ConnectionPermit,
) -> Result<(), Rejection> {
    let reached = permit.enter_quotas(&client.record.fields());
    if reached.is_empty() {
        return Ok(());
    }
    let reached = Arc::<[_]>::from(reached);
    if replace_own_session(client, ReachedLimit::Quotas(reached.clone())).await? {
        reached.iter().for_each(|quota| permit.exceed_quota(quota));
        return Ok(());
    }
    // Other sessions may have ended in the meantime.
    let Some(full) = reached.iter().find(|quota| !permit.retry_quota(quota)) else {
        return Ok(());
    };
    let refused = client.refuse(RejectReason::QuotaExceeded, client.check_phase(), EndCause::Limit);
    Err(refused.with(full.refuse()))
}
