//! The quotas that count a client.

use std::sync::Arc;

use crate::{
    labels::EndCause,
    limits::{ConnectionPermit, ReachedQuota},
    proto::mqtt::RejectReason,
    session::{
        broker_search::replace_own_session, clients::ReachedLimit, pending::PendingClient,
        record::Record, reject::Rejection,
    },
};

/// Counts the client in the quotas. Returns those that are full for it.
pub(super) fn enter(record: &Record, permit: &ConnectionPermit) -> Vec<ReachedQuota> {
    record.for_broker().map_or_else(Vec::new, |client| permit.enter_quotas(&client))
}

/// Lets a client replace an older session of its own that counts in the quotas that are full;
/// refuses the client if it has no such session.
pub(super) async fn replace_at_quotas(
    client: &mut PendingClient<'_>,
    permit: &ConnectionPermit,
    reached: Vec<ReachedQuota>,
) -> Result<(), Rejection> {
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
