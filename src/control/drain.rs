//! The drain: sessions end one after the other, until all have ended or the time is up.

use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{proxy::Proxy, service_manager::ServiceManager};
use crate::{session::Drain, worker::Worker};

/// How long sessions may take to end and be recorded after they were told to.
const END_SESSIONS_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// Waits for the deadline of the phase, if it has one.
    pub(super) async fn deadline(self) {
        match self {
            Self::Serving => pending().await,
            Self::HandedOver { until } | Self::Draining { until } | Self::Ending { until } => {
                sleep_until(until).await
            }
        }
    }
}

/// Makes the workers end with their last sessions, which another process does not have.
pub(super) fn hand_over(proxy: &Proxy, draining: &AtomicBool) -> Phase {
    let config = proxy.current.load().config.clone();
    draining.store(true, Ordering::Relaxed);
    proxy.listeners.release_files();
    proxy.workers.iter().for_each(Worker::retire);
    let quiet = config.upgrade.timeout.saturating_sub(config.drain.timeout);
    Phase::HandedOver { until: Instant::now() + quiet }
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
