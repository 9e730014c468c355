//! Periodic tasks of the control thread, in every phase.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at};

use super::{proxy::Proxy, warnings::warn_of_certificates};

/// How often the counters of idle client addresses are removed.
const ADDRESS_CLEANUP_INTERVAL: Duration = Duration::from_secs(10);

/// How often the proxy warns about certificates that expire soon, apart from each start and reload.
const CERTIFICATE_WARNING_INTERVAL: Duration = Duration::from_hours(24);

/// How often bans that have ended are removed; they are no longer in force before that.
const BAN_CLEANUP_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Housekeeping {
    ban_cleanup: Interval,
    address_cleanup: Interval,
    certificate_warning: Interval,
}

impl Housekeeping {
    pub(super) fn new() -> Self {
        let mut address_cleanup = interval(ADDRESS_CLEANUP_INTERVAL);
        address_cleanup.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ban_cleanup = interval(BAN_CLEANUP_INTERVAL);
        ban_cleanup.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = Instant::now() + CERTIFICATE_WARNING_INTERVAL;
        let certificate_warning = interval_at(first, CERTIFICATE_WARNING_INTERVAL);
        Self { ban_cleanup, address_cleanup, certificate_warning }
    }

    /// Waits until a task is due, and runs it. Cancel safe.
    pub(super) async fn next(&mut self, proxy: &Proxy) {
        tokio::select! {
            _ = self.ban_cleanup.tick() => proxy.limiter.remove_ended_bans(),
            _ = self.address_cleanup.tick() => proxy.limiter.forget_idle_clients(),
            _ = self.certificate_warning.tick() => {
                warn_of_certificates(&proxy.current.load().config);
            }
        }
    }
}
