//! The CONNECT that the broker is sent.

use std::borrow::Cow;

use super::refusal::refuse;
use crate::{
    config::{PasswordRewrite, Rewrite},
    listener::ListenerSettings,
    proto::mqtt::{
        Connect, ConnectEdits, PasswordEdit, Progress, RejectReason, connect,
        rewrite::{RewriteError, rewrite},
    },
    session::{
        pending::PendingClient,
        record::{ClientInfo, SentNames},
        reject::Rejection,
    },
    template::{ClientFields, Template, Variable},
};

/// The name of this rule in metrics.
const RULE: &str = "rewrite";

/// Replaces the CONNECT in the client's buffer by the one for its broker: with the ID that the client
/// was assigned, and with the changes of the listener. Returns its fields.
pub(super) fn apply(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    connect: Connect,
    rules: Option<&Rewrite>,
) -> Result<Connect, Rejection> {
    let packet = client.buffer.get(..connect.len).unwrap_or_default();
    let refuse = |reason, detail| refuse(client, settings, RULE, reason, detail);
    let record = &client.record;
    let assigned = record.identity.as_ref().and_then(|facts| facts.assigned_client_id.as_deref());
    let Some(info) = &record.client else { return Ok(connect) };
    let (own_id, own_username) = (info.client_id(), info.username());
    let fields = record.for_route(assigned.unwrap_or(own_id), own_username);
    let new_id = render(rules.and_then(|rules| rules.client_id.as_ref()), &fields)
        .map_err(|missing| refuse(RejectReason::IdentifierRejected, lacks("client_id", missing)))?;
    let new_username = render(rules.and_then(|rules| rules.username.as_ref()), &fields)
        .map_err(|missing| refuse(RejectReason::NotAuthorized, lacks("username", missing)))?;
    let properties = user_properties(rules, &fields);
    let properties: Vec<_> = properties.iter().map(|(name, value)| (*name, &**value)).collect();
    let edits = ConnectEdits {
        client_id: new_id.as_deref().or(assigned),
        username: new_username.as_deref(),
        password: match rules.map(|rules| &rules.password) {
            None | Some(PasswordRewrite::Keep) => PasswordEdit::Keep,
            Some(PasswordRewrite::Remove) => PasswordEdit::Remove,
            Some(PasswordRewrite::Set(password)) => PasswordEdit::Set(password.reveal().as_bytes()),
        },
        user_properties: &properties,
    };
    if edits.is_empty() {
        return Ok(connect);
    }
    let rewritten = rewrite(packet, &connect, &edits);
    let rewritten = rewritten.map_err(|error| {
        // As documented for the username, which a new password needs, too.
        let reason = match error {
            RewriteError::FieldTooLong { field: "username" | "password", .. }
            | RewriteError::Nul("username" | "password")
            | RewriteError::PasswordWithoutUsername => RejectReason::NotAuthorized,
            _ => RejectReason::IdentifierRejected,
        };
        refuse(reason, format!("cannot rewrite: {error}"))
    })?;
    let parsed = match connect::parse(&rewritten, usize::MAX, settings.strictness) {
        Ok(Progress::Complete(parsed)) => parsed,
        Ok(Progress::Incomplete { .. }) | Err(_) => {
            let detail = "cannot rewrite: the result is malformed".to_owned();
            return Err(refuse(RejectReason::IdentifierRejected, detail));
        }
    };
    let sent = SentNames { client_id: own_id.into(), username: own_username.map(Box::from) };
    let is_hidden = connect.username.is_some() && own_username.is_none();
    let mut info = ClientInfo::new(&parsed, &rewritten);
    if is_hidden && new_username.is_none() {
        info.hide_username();
    }
    client.record.set_rewritten(info, sent);
    client.replace_connect(connect.len, &rewritten);
    Ok(parsed)
}

/// The new text of a field, if it changes.
fn render<'a>(
    template: Option<&'a Template>,
    fields: &ClientFields<'a>,
) -> Result<Option<Cow<'a, str>>, &'a Variable> {
    template.map(|template| template.render(fields)).transpose()
}

fn lacks(key: &str, variable: &Variable) -> String {
    format!("rewrite.{key} needs ${{{variable}}}, which has no value")
}

/// The properties that have values.
fn user_properties<'a>(
    rules: Option<&'a Rewrite>,
    fields: &ClientFields<'a>,
) -> Vec<(&'a str, Cow<'a, str>)> {
    let all = rules.iter().flat_map(|rules| &rules.user_properties);
    all.filter_map(|(name, value)| Some((&**name, value.render(fields).ok()?))).collect()
}
