//! How many sessions there can be, and a warning before there are.

use std::{fs, num::NonZeroU32, sync::Arc, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::{MissedTickBehavior, interval};

use super::admin;
use crate::{limits::ConnectionLimiter, metrics::Metrics, net::Pipes};

/// Descriptors for what no worker holds: logs, look-ups, a few connections of the admin listener,
/// and some to spare.
const RESERVED: u64 = 128;

/// Connections of the admin listener that are reserved for in it.
const RESERVED_FOR_ADMIN: u64 = 64;

/// Descriptors of one worker beside its sessions': the pipes of bulk streams, listeners, its epoll.
const RESERVED_PER_WORKER: u64 = 2 * Pipes::MAX_OPEN as u64 + 16;

/// Room for fewer sessions than these is worth a hint: most distributions' defaults allow more, so
/// that the limit is a shell's or a container's, and not meant for this.
const MANY: u32 = 10_000;

/// How often it is looked at how full it is: a storm of clients takes longer to fill a fifth.
const LOOK: Duration = Duration::from_secs(2);

/// The process' limit on descriptors.
#[derive(Clone, Copy, Debug)]
pub(super) struct DescriptorLimit {
    /// The soft limit that the process came with.
    before: u64,
    /// The soft limit in force.
    soft: u64,
    hard: u64,
}

impl DescriptorLimit {
    /// Raises the soft limit to the hard one.
    pub(super) fn raise() -> Self {
        let came_with = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: came_with.maximum, maximum: came_with.maximum };
        // Fails nowhere that is known; the old limit then stays, and is what counts.
        let _ = setrlimit(Resource::Nofile, raised);
        let value = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        Self {
            before: value(came_with.current),
            soft: value(getrlimit(Resource::Nofile).current),
            hard: value(came_with.maximum),
        }
    }

    /// The soft limit in force.
    pub(super) fn limit(self) -> u64 {
        self.soft
    }

    /// The connections that it allows: a session has two, its client's and its broker's. `probes`
    /// is how many brokers are checked, each by one connection at a time.
    pub(super) fn connections(self, workers: usize, probes: usize) -> u32 {
        let admin = admin::max_connections(self.soft).saturating_sub(RESERVED_FOR_ADMIN);
        let reserved = RESERVED + admin + RESERVED_PER_WORKER * workers as u64 + probes as u64;
        let sessions = (self.soft.saturating_sub(reserved) / 2).max(1);
        sessions.try_into().unwrap_or(u32::MAX)
    }

    /// What is to be said of a `max_connections` that the descriptors do not allow.
    pub(super) fn warning(
        self,
        sessions: u32,
        max_connections: Option<NonZeroU32>,
    ) -> Option<String> {
        let asked = max_connections.filter(|asked| asked.get() > sessions)?;
        let limit = self.soft;
        Some(format!(
            "limits.max_connections is {asked}, but the descriptor limit of {limit} allows no more \
             than {sessions} sessions, and no more are let in: raise the hard limit (LimitNOFILE= \
             in systemd, ulimit -Hn in a shell), or lower limits.max_connections"
        ))
    }

    /// Says in the log how many sessions there can be, and what to do if that is less than
    /// `max_connections` asks for, or than many would.
    pub(super) fn say(self, sessions: u32, max_connections: Option<NonZeroU32>) {
        let Self { before, soft, hard } = self;
        if let Some(warning) = self.warning(sessions, max_connections) {
            tracing::warn!(before, now = soft, hard, sessions, "descriptor limit: {warning}");
        } else if sessions >= max_connections.map_or(MANY, NonZeroU32::get) {
            tracing::info!(before, now = soft, hard, sessions, "descriptor limit");
        } else {
            tracing::warn!(
                before,
                now = soft,
                hard,
                sessions,
                "descriptor limit: for more sessions raise the hard limit (LimitNOFILE= in \
                 systemd, ulimit -Hn in a shell)"
            );
        }
    }
}

/// Warns when four fifths of the descriptors or of the connections are taken, and keeps the metric
/// of how many may be open.
pub(super) async fn watch(limiter: Arc<ConnectionLimiter>, metrics: Metrics) {
    let (mut connections, mut descriptors) = (Level::default(), Level::default());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let (open, limit) = (limiter.open(), limiter.limit());
        metrics.set_connections_limit(limit);
        if connections.rises(open.into(), limit.into()) {
            tracing::warn!(
                open,
                limit,
                "more than 80 % of the connections that limits.max_connections or the descriptors \
                 allow are open; who comes beyond the limit is turned away"
            );
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let open = open_descriptors().unwrap_or(2 * u64::from(open));
        if descriptors.rises(open, limit) {
            tracing::warn!(
                open,
                limit,
                "more than 80 % of the descriptors are taken: raise the hard limit (LimitNOFILE= \
                 in systemd, ulimit -Hn in a shell), or lower limits.max_connections"
            );
        }
    }
}

/// `None` before Linux 6.2, where they would have to be listed one by one: that takes the control
/// thread a second for a million.
fn open_descriptors() -> Option<u64> {
    let open = fs::metadata("/proc/self/fd").ok()?.len();
    (open > 0).then_some(open)
}

/// How full something is: high from 80 % on, until it is below 70 %. So a use that sways about the
/// mark is told of once.
#[derive(Default)]
struct Level {
    high: bool,
}

impl Level {
    /// Whether it has become high.
    fn rises(&mut self, used: u64, of: u64) -> bool {
        let was_high = self.high;
        let mark = if was_high { 70 } else { 80 };
        self.high = u128::from(used) * 100 > u128::from(of) * mark;
        self.high && !was_high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_rises_once_until_it_has_fallen() {
        let mut level = Level::default();
        let mut rises = |used| level.rises(used, 1000);
        assert!(!rises(800));
        assert!(rises(801));
        assert!(!rises(1000));
        // Below the mark, but not far enough below.
        assert!(!rises(701));
        assert!(!rises(900));
        // And now it is.
        assert!(!rises(700));
        assert!(!rises(800));
        assert!(rises(801));
    }

    /// Without a limit there is nothing to run short of; with nothing there is no room at all.
    #[test]
    fn levels_at_the_ends() {
        assert!(!Level::default().rises(u64::from(u32::MAX), u64::MAX));
        assert!(Level::default().rises(u64::MAX, u64::MAX));
        assert!(!Level::default().rises(0, 1));
        assert!(Level::default().rises(1, 1));
    }
}
