//! Whether sessions belong to the same client.

use super::{
    directory::{ClientDirectory, ClientHash},
    entry::{ClientIdentity, DirectoryEntry},
    tenant::{IdentityHash, TenantHash},
};
use crate::{
    session::{active::ActiveSession, pool_view::PoolView},
    template::ClientFields,
};

/// The number of a client's older sessions that are considered; the limit keeps a client with more
/// of them from delaying its handshake.
const MAX_OWN_SESSIONS: usize = 4;

/// The client of an accepted session, if it has a client ID; others are not in the directory.
pub(crate) fn identified_client(session: &ActiveSession) -> Option<(ClientHash, ClientFields<'_>)> {
    let record = &session.record;
    let client = record.client.as_ref()?;
    let client = record.for_route(client.client_id(), client.username());
    let is_identified = record.is_accepted() && !client.client_id.is_empty();
    let pool = record.listener.pool.pool.id();
    is_identified.then(|| (ClientHash::new(pool, client.client_id), client))
}

/// The client's identity by the pool's current key.
pub(crate) fn identity(view: &PoolView, client: &ClientFields<'_>) -> ClientIdentity {
    ClientIdentity::new(view.pool.id(), client, &view.tenant_fields())
}

/// The hash of that identity.
pub(crate) fn identity_hash(view: &PoolView, client: &ClientFields<'_>) -> IdentityHash {
    IdentityHash::new(view.pool.id(), client, &view.tenant_fields())
}

/// Whether a session belongs to this client.
pub(crate) fn is_of_client(session: &ActiveSession, identity: &ClientIdentity) -> bool {
    let view = &session.record.listener.pool;
    identified_client(session)
        .is_some_and(|(_, client)| identity.is(view.pool.id(), &client, &view.tenant_fields()))
}

/// Accepted sessions that, by their hashes, may belong to this client, newest first.
pub(crate) fn possible_own_sessions(
    directory: &ClientDirectory,
    view: &PoolView,
    client: &ClientFields<'_>,
) -> Vec<DirectoryEntry> {
    if client.client_id.is_empty() {
        return Vec::new();
    }
    let hash = ClientHash::new(view.pool.id(), client.client_id);
    let tenant = TenantHash::new(client);
    directory.may_be_of(hash, tenant, &view.tenant_fields(), MAX_OWN_SESSIONS)
}
