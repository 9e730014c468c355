//! What has to hold of a client.

use super::refusal::refuse_credentials;
use crate::{
    config::{RequiredField, Requirement},
    escape::quote,
    listener::ListenerSettings,
    proto::mqtt::RejectReason,
    session::{pending::PendingClient, reject::Rejection},
};

/// Refuses a client that does not meet every requirement.
pub(super) fn check(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    require: &[Requirement],
) -> Result<(), Rejection> {
    let Some(info) = &client.record.client else { return Ok(()) };
    let fields = client.record.for_route(info.client_id(), info.username());
    for required in require {
        let (name, value, reason) = match required.field {
            RequiredField::ClientId => {
                ("client_id", Some(fields.client_id), RejectReason::IdentifierRejected)
            }
            RequiredField::Username => ("username", fields.username, RejectReason::NotAuthorized),
        };
        if value.is_some_and(|value| required.pattern.matches(value, &fields)) {
            continue;
        }
        let values: Vec<_> = required
            .pattern
            .variables()
            .map(|variable| match variable.value(&fields) {
                Some(value) => format!("${{{variable}}} is {}", quote(&value)),
                None => format!("${{{variable}}} has no value"),
            })
            .collect();
        let values =
            if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        let Requirement { line, index, pattern, .. } = required;
        let pattern = quote(&pattern.to_string());
        let detail = match value {
            Some(value) => format!(
                "{name} {} does not match {pattern}{values}, which line {line} of the configuration \
                 requires",
                quote(value)
            ),
            None => format!(
                "the client has no {name}; line {line} of the configuration requires {pattern}{values}"
            ),
        };
        return Err(refuse_credentials(
            client,
            settings,
            &format!("require[{index}]"),
            reason,
            detail,
        ));
    }
    Ok(())
}
