//! What workers tell each other of sessions.

use super::tenant::TenantHash;

/// An accepted session, and where it is.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Held {
    pub(in crate::session) session: u64,
    /// The broker's [`Broker::id`](crate::upstream::Broker::id).
    pub(in crate::session) broker: u64,
    /// In the worker's slab.
    pub(in crate::session) slot: u32,
    pub(in crate::session) tenant: TenantHash,
}

/// The client of a newer session. To be compared, as the directory knows only hashes of it.
pub(in crate::session) struct Newer {
    pub(in crate::session) pool: u64,
    pub(in crate::session) client_id: Box<str>,
    pub(in crate::session) tenant: Box<[u8]>,
}
