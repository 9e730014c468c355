//! The process' limit on file descriptors: how many sessions it allows, and a warning before it is
//! reached.

use std::{fs, num::NonZeroU32, sync::Arc, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::{MissedTickBehavior, interval};

use crate::{config::Config, limits::ConnectionLimiter, metrics::Metrics, net::Pipes};

/// Descriptors outside the workers: logs, look-ups, a few connections of the admin listener, and
/// some spare.
const RESERVED: u64 = 128;

/// The part of `RESERVED` for connections of the admin listener.
const RESERVED_FOR_ADMIN: u64 = 64;

/// Descriptors of one worker apart from its sessions: the pipes of bulk streams, listeners, its
/// epoll.
const RESERVED_PER_WORKER: u64 = 2 * Pipes::MAX_OPEN as u64 + 16;

/// A limit below this is worth a hint: most distributions' defaults allow more sessions, so such a
/// limit comes from a shell or container and was not set for the proxy.
const HINT_BELOW_SESSIONS: u32 = 10_000;

/// How often usage is checked: even a connect storm takes longer to use a fifth of the limit.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The most connections of the admin listener: a thousand scrapers at once, and dashboards.
const MAX_ADMIN_CONNECTIONS: u64 = 1100;

/// The admin listener may use this fraction (1/16) of the process' descriptors.
const ADMIN_FRACTION: u64 = 16;

/// The most connections of the admin listener under a limit of `descriptors`.
pub(super) fn max_admin_connections(descriptors: u64) -> u64 {
    (descriptors / ADMIN_FRACTION).clamp(16, MAX_ADMIN_CONNECTIONS)
}

/// The settings of a configuration that exceed this process' limits, one line each.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let limit = DescriptorLimit::raise();
    let sessions = limit.max_sessions_for(config, config.runtime.workers.count().get());
    limit.warning(sessions, config.limits.max_connections).into_iter().collect()
}

/// The process' limit on descriptors.
#[derive(Clone, Copy, Debug)]
pub(super) struct DescriptorLimit {
    /// The soft limit that the process started with.
    before: u64,
    /// The soft limit in force.
    soft: u64,
    hard: u64,
}

impl DescriptorLimit {
    /// Raises the soft limit to the hard one.
    pub(super) fn raise() -> Self {
        let initial = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: initial.maximum, maximum: initial.maximum };
        // If this fails, the old limit stays in force.
        let _ = setrlimit(Resource::Nofile, raised);
        let value = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        Self {
            before: value(initial.current),
            soft: value(getrlimit(Resource::Nofile).current),
            hard: value(initial.maximum),
        }
    }

    /// The soft limit in force.
    pub(super) fn limit(self) -> u64 {
        self.soft
    }

    /// The sessions that the limit allows for this configuration.
    pub(super) fn max_sessions_for(self, config: &Config, workers: usize) -> u32 {
        // Discovered brokers are not known yet; the reserve has room for a few.
        let checked = config.pools.iter().filter(|pool| pool.health.active.is_some());
        let probes = checked.map(|pool| pool.upstreams.len()).sum();
        self.max_sessions(workers, probes)
    }

    /// A session has two connections, to its client and its broker. `probes` is the number of
    /// brokers with health checks, which use one connection at a time each.
    fn max_sessions(self, workers: usize, probes: usize) -> u32 {
        let admin = max_admin_connections(self.soft).saturating_sub(RESERVED_FOR_ADMIN);
        let reserved = RESERVED + admin + RESERVED_PER_WORKER * workers as u64 + probes as u64;
        let sessions = (self.soft.saturating_sub(reserved) / 2).max(1);
        sessions.try_into().unwrap_or(u32::MAX)
    }

    /// The warning about a `max_connections` that the descriptors do not allow.
    pub(super) fn warning(
        self,
        sessions: u32,
        max_connections: Option<NonZeroU32>,
    ) -> Option<String> {
        let wanted = max_connections.filter(|wanted| wanted.get() > sessions)?;
        let limit = self.soft;
        Some(format!(
            "limits.max_connections is {wanted}, but the descriptor limit of {limit} allows only \
             {sessions} sessions, and connections beyond that are refused: raise the hard limit \
             (LimitNOFILE= in systemd, ulimit -Hn in a shell), or lower limits.max_connections"
        ))
    }

    /// Logs how many sessions the limit allows, and what to do if they are few, or fewer than
    /// `max_connections`.
    pub(super) fn log(self, sessions: u32, max_connections: Option<NonZeroU32>) {
        let Self { before, soft, hard } = self;
        if let Some(warning) = self.warning(sessions, max_connections) {
            tracing::warn!(before, now = soft, hard, sessions, "descriptor limit: {warning}");
        } else if sessions >= max_connections.map_or(HINT_BELOW_SESSIONS, NonZeroU32::get) {
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

/// Checks that `more` descriptors can be opened besides those that are open.
///
/// # Errors
/// How many would be needed, and what to do.
pub(super) fn check_room(more: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Before Linux 6.2 the few that a process has at its start do not count.
    let needed = open_descriptors().unwrap_or_default().saturating_add(more);
    if needed <= limit {
        return Ok(());
    }
    Err(format!(
        "not enough descriptors: {needed} needed, limit {limit}; raise the hard limit (LimitNOFILE= \
         in systemd, ulimit -Hn in a shell)"
    ))
}

/// Warns when more than 80 % of the descriptors or of the connections are in use, and updates the
/// metric of the connection limit.
pub(super) async fn watch(limiter: Arc<ConnectionLimiter>, metrics: Metrics) {
    let (mut connections, mut descriptors) = (UsageAlarm::default(), UsageAlarm::default());
    let mut looks = interval(CHECK_INTERVAL);
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
                 allow are open; clients beyond the limit are refused"
            );
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let open = open_descriptors().unwrap_or(2 * u64::from(open));
        if descriptors.rises(open, limit) {
            tracing::warn!(
                open,
                limit,
                "more than 80 % of the descriptors are in use: raise the hard limit (LimitNOFILE= \
                 in systemd, ulimit -Hn in a shell), or lower limits.max_connections"
            );
        }
    }
}

/// The open descriptors. `None` before Linux 6.2, where they would have to be listed one by one,
/// which would block the control thread for a second if there are a million.
fn open_descriptors() -> Option<u64> {
    let open = fs::metadata("/proc/self/fd").ok()?.len();
    (open > 0).then_some(open)
}

/// Whether usage is high: above 80 %, until it falls to 70 %. So usage that fluctuates around the
/// threshold is reported once.
#[derive(Default)]
struct UsageAlarm {
    high: bool,
}

impl UsageAlarm {
    /// Whether usage has become high.
    fn rises(&mut self, used: u64, of: u64) -> bool {
        let was_high = self.high;
        let threshold = if was_high { 70 } else { 80 };
        self.high = u128::from(used) * 100 > u128::from(of) * threshold;
        self.high && !was_high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_becomes_high_once_until_it_has_fallen() {
        let mut alarm = UsageAlarm::default();
        let mut rises = |used| alarm.rises(used, 1000);
        assert!(!rises(800));
        assert!(rises(801));
        assert!(!rises(1000));
        // Below the threshold, but not low enough.
        assert!(!rises(701));
        assert!(!rises(900));
        // Now it is low enough.
        assert!(!rises(700));
        assert!(!rises(800));
        assert!(rises(801));
    }

    /// The smallest and largest values.
    #[test]
    fn usage_at_the_extremes() {
        assert!(!UsageAlarm::default().rises(u64::from(u32::MAX), u64::MAX));
        assert!(UsageAlarm::default().rises(u64::MAX, u64::MAX));
        assert!(!UsageAlarm::default().rises(0, 1));
        assert!(UsageAlarm::default().rises(1, 1));
    }
}
