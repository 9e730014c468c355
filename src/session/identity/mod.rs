//! Who a client is: its requirements, the ID that it is assigned, and what its broker is told.

mod assign;
mod authenticate;
mod refusal;
mod require;
mod rewrite;

use super::{pending::PendingClient, reject::Rejection};
use crate::{
    balance::EmptyClientId, config::TokenSource, listener::ListenerSettings, proto::mqtt::Connect,
};

/// Whether the client's identity needs more than its CONNECT as it is.
pub(super) fn is_needed(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    connect: &Connect,
) -> bool {
    settings.identity.is_some() || assigns_id(client, connect)
}

fn assigns_id(client: &PendingClient<'_>, connect: &Connect) -> bool {
    let policy = || client.record.listener.pool.current_config().balance.empty_client_id;
    connect.client_id.is_empty() && policy() == EmptyClientId::Assign
}

/// Forgets a username that is a token, before anything can be logged.
pub(super) fn forget_token(client: &mut PendingClient<'_>, settings: &ListenerSettings) {
    let jwt = settings.identity.as_ref().and_then(|identity| identity.jwt.as_ref());
    if jwt.is_some_and(|jwt| jwt.from == TokenSource::Username) {
        client.record.hide_username();
    }
}

/// Checks who the client is, and replaces the CONNECT in its buffer by the one for its broker.
/// Returns that one's fields.
pub(super) async fn establish(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    connect: Connect,
) -> Result<Connect, Rejection> {
    if let Some(identity) = &settings.identity {
        if let Some(jwt) = &identity.jwt {
            authenticate::verify(client, settings, &connect, jwt).await?;
        }
        require::check(client, settings, &identity.require)?;
    }
    let assigned = if assigns_id(client, &connect) {
        Some(assign::new_client_id(client, &connect)?)
    } else {
        None
    };
    let facts = client.record.identity.get_or_insert_default();
    facts.assigned_client_id = assigned.map(Box::from);
    let rewrite = settings.identity.as_ref().and_then(|identity| identity.rewrite.as_ref());
    rewrite::apply(client, settings, connect, rewrite)
}
