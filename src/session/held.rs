//! What workers tell each other of sessions.

use super::tenant::TenantHash;

/// An accepted session, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) session: u64,
    /// The broker's [`Broker::id`](crate::upstream::Broker::id).
    pub(super) broker: u64,
    /// In the worker's slab.
    pub(super) slot: u32,
    pub(super) tenant: TenantHash,
}

/// The client of a newer session. To be compared, as the directory knows only hashes of it.
pub(super) struct Newer {
    pub(super) pool: u64,
    pub(super) client_id: Box<str>,
    pub(super) tenant: Box<[u8]>,
}
