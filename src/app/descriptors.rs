//! The limit that decides how many sessions there can be.

use crate::transport::Pipes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for what no worker holds: logs, admin, look-ups, and some to spare.
const RESERVED: u64 = 128;

/// Descriptors of one worker beside its sessions': the pipes of bulk streams, listeners, its epoll.
const RESERVED_PER_WORKER: u64 = 2 * Pipes::MOST as u64 + 16;

/// Raises the soft limit on descriptors to the hard one, and returns what is in force.
pub(super) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Fails nowhere that is known; the old limit then stays, and is what counts.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The connections that so many descriptors allow: a session has two, its client's and its broker's.
/// `probes` is how many brokers are checked, each by one connection at a time.
pub(super) fn connections(descriptors: u64, workers: usize, probes: usize) -> u32 {
    let reserved = RESERVED + RESERVED_PER_WORKER * workers as u64 + probes as u64;
    let connections = (descriptors.saturating_sub(reserved) / 2).max(1);
    tracing::info!(descriptors, connections, "descriptor limit");
    connections.try_into().unwrap_or(u32::MAX)
}
