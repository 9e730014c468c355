//! The drain: sessions end one after the other, until all have ended or the time is up.

use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{proxy::Proxy, service_manager::ServiceManager};
use crate::{config::Config, session::Drain, worker::Worker};

/// How long sessions may take to end and be recorded after they were told to.
const END_SESSIONS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the sessions may take to move: those in a handshake do so after it.
const MOVE_TIMEOUT: Duration = Duration::from_mins(1);

/// The phases of the proxy's life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Another process has taken over; the sessions that are left end one after the other from
    /// `until` on.
    HandedOver {
        until: Instant,
    },
    /// Sessions are being ended one after the other.
    Draining {
        until: Instant,
    },
    /// The remaining sessions have been told to end.
    Ending {
        until: Instant,
    },
}

impl Phase {
    /// Whether sessions are being ended.
    pub(super) fn is_ending(self) -> bool {
        matches!(self, Self::Draining { .. } | Self::Ending { .. })
    }

    /// Waits for the deadline of the phase, if it has one.
    pub(super) async fn deadline(self) {
        match self {
            Self::Serving => pending().await,
            Self::HandedOver { until } | Self::Draining { until } | Self::Ending { until } => {
                sleep_until(until).await;
            }
        }
    }
}

/// How often this process was told to stop: by signals, and after an upgrade by the new process, which
/// passes on what it gets. A service manager signals both, so that the larger number is the true one.
#[derive(Default)]
pub(super) struct StopRequests {
    signals: u32,
    passed_on: u32,
}

impl StopRequests {
    /// Counts a signal. Whether the new process has not passed it on already.
    pub(super) fn signalled(&mut self) -> bool {
        self.signals += 1;
        self.signals > self.passed_on
    }

    /// Counts one that the new process has passed on. Whether no signal has come before it.
    pub(super) fn passed_on(&mut self) -> bool {
        self.passed_on += 1;
        self.passed_on > self.signals
    }
}

/// Leaves the clients to another process, which may take the sessions as well.
pub(super) fn hand_over(proxy: &Proxy, draining: &AtomicBool) -> Phase {
    let config = proxy.current.load().config.clone();
    draining.store(true, Ordering::Relaxed);
    proxy.listeners.release_files();
    // The time for the sessions that stay counts from when the others have moved.
    Phase::HandedOver { until: Instant::now() + MOVE_TIMEOUT + before_drain(&config) }
}

/// All sessions that can move have moved: the others may stay for `upgrade.timeout`.
pub(super) fn sessions_moved(proxy: &Proxy, phase: Phase) -> Phase {
    match phase {
        Phase::HandedOver { .. } => {
            let config = proxy.current.load().config.clone();
            Phase::HandedOver { until: Instant::now() + before_drain(&config) }
        }
        other => other,
    }
}

/// How long sessions that stay are left alone, before they end one after the other.
fn before_drain(config: &Config) -> Duration {
    config.upgrade.timeout.saturating_sub(config.drain.timeout)
}

/// Serves again, as the other process has ended.
pub(super) fn take_back(proxy: &Proxy, draining: &AtomicBool) -> Phase {
    draining.store(false, Ordering::Relaxed);
    proxy.listeners.own_files();
    Phase::Serving
}

/// Makes the workers stop accepting and end their sessions one after the other.
pub(super) fn start(
    proxy: &Proxy,
    manager: &ServiceManager,
    draining: &AtomicBool,
    phase: Phase,
) -> Phase {
    let Proxy { limiter, workers, current, .. } = proxy;
    let config = current.load().config.clone();
    let timeout = match phase {
        Phase::HandedOver { .. } => config.drain.timeout.min(config.upgrade.timeout),
        _ => config.drain.timeout,
    };
    let until = Instant::now() + timeout;
    draining.store(true, Ordering::Relaxed);
    manager.stopping(timeout);
    tracing::info!(
        connections = limiter.open(),
        "stopped accepting; ending the sessions over {timeout:?}, the oldest first",
    );
    let others = workers.len().saturating_sub(1).max(1) as f64;
    for (index, worker) in workers.iter().enumerate() {
        worker.drain(Drain { until: until.into(), offset: index as f64 / others });
    }
    Phase::Draining { until }
}

/// Ends the remaining sessions one by one, so that each is recorded; that takes milliseconds.
pub(super) fn end_sessions(proxy: &Proxy, why: &str) -> Phase {
    let connections = proxy.limiter.open();
    tracing::warn!(connections, "{why}; ending the remaining sessions");
    proxy.workers.iter().for_each(Worker::end_sessions);
    Phase::Ending { until: Instant::now() + END_SESSIONS_TIMEOUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_that_comes_by_both_ways_counts_once() {
        let mut stops = StopRequests::default();
        assert!(stops.passed_on());
        assert!(!stops.signalled());
        assert!(stops.signalled());
        assert!(!stops.passed_on());
        assert!(stops.passed_on());
    }
}
