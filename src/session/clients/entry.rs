//! The entries by which workers identify sessions and clients to each other.

use super::tenant::{TenantHash, tenant_key};
use crate::{balance::TenantFields, template::ClientFields};

/// An accepted session, and where to find it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectoryEntry {
    pub(crate) session_id: u64,
    /// The broker's [`Broker::id`](crate::upstream::Broker::id).
    pub(crate) broker: u64,
    /// The slot in its worker's session table.
    pub(crate) slot: u32,
    pub(crate) tenant: TenantHash,
}

/// A client's full identity, for an exact comparison: the directory holds only hashes.
pub(crate) struct ClientIdentity {
    /// The pool's [`Pool::id`](crate::upstream::Pool::id).
    pool: u64,
    client_id: Box<str>,
    tenant: Box<[u8]>,
}

impl ClientIdentity {
    /// `fields` are the fields of the pool's key.
    pub(crate) fn new(pool: u64, client: &ClientFields<'_>, fields: &TenantFields) -> Self {
        let tenant = tenant_key(client, fields);
        Self { pool, client_id: client.client_id.into(), tenant }
    }

    pub(crate) fn is(&self, pool: u64, client: &ClientFields<'_>, fields: &TenantFields) -> bool {
        self.pool == pool
            && *self.client_id == *client.client_id
            && self.tenant == tenant_key(client, fields)
    }
}
