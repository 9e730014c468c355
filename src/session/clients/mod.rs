//! The sessions of each client, across all workers.

mod arrivals;
mod directory;
mod duplicates;
mod entry;
mod identity;
mod replacements;
mod tenant;

pub use directory::ClientDirectory;
pub(super) use directory::{ClientHash, TakeoverReason};
pub(super) use duplicates::DisplacedSession;
pub(crate) use duplicates::DuplicateClient;
pub(super) use entry::DirectoryEntry;
pub(super) use identity::{
    identified_client, identity, identity_hash, is_of_client, possible_own_sessions,
};
pub(super) use replacements::{ReachedLimit, ReplacedSession, ReplacementQuery};
pub(super) use tenant::TenantHash;
