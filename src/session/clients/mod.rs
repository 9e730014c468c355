//! The sessions of each client, across all workers.

mod directory;
mod entry;
mod identity;
mod replacements;
mod tenant;

pub use directory::ClientDirectory;
pub(super) use directory::{ClientHash, TakeoverReason};
pub(super) use entry::DirectoryEntry;
pub(super) use identity::{identified_client, identity, is_of_client, possible_own_sessions};
pub(super) use replacements::{ReachedLimit, ReplacedSession, ReplacementQuery};
pub(super) use tenant::TenantHash;
