//! Clients that are refused for their identity.

use crate::{
    labels::{EndBy, EndCause, EndPhase},
    listener::ListenerSettings,
    proto::mqtt::RejectReason,
    session::{end::End, pending::PendingClient, reject::Rejection},
};

/// Refuses a client that has not proved its identity, with the rule that refused it.
pub(super) fn refuse_credentials(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    rule: &str,
    reason: RejectReason,
    detail: String,
) -> Rejection {
    let refused = refuse(client, settings, rule, reason, detail);
    Rejection { has_bad_credentials: true, ..refused }
}

/// Refuses a client for its identity, with the rule that refused it.
pub(super) fn refuse(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    rule: &str,
    reason: RejectReason,
    detail: String,
) -> Rejection {
    settings.metrics.count_identity_refused(rule);
    let end = End::new(EndBy::Proxy, EndPhase::Connect, EndCause::Refused).with(detail);
    client.refuse_with(reason, end)
}
