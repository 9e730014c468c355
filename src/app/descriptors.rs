//! The limit that decides how many sessions there can be.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for what is not a session: logs, epolls, listeners, pipes of bulk streams, admin.
const RESERVED: u64 = 256;

/// Raises the soft limit on descriptors to the hard one, and returns what is in force.
pub(super) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Fails nowhere that is known; the old limit then stays, and is what counts.
    let _ = setrlimit(Resource::Nofile, raised);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    tracing::info!(descriptors = limit, connections = connections(limit), "descriptor limit");
    limit
}

/// The connections that so many descriptors allow: a session has two, its client's and its broker's.
pub(super) fn connections(descriptors: u64) -> u32 {
    (descriptors.saturating_sub(RESERVED) / 2).max(1).try_into().unwrap_or(u32::MAX)
}
