//! Access logs that block new clients: since when, and how that is reported.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};

use crate::{config::LogTarget, metrics::BlockedGauge, timestamp::rfc3339};

/// How long a log must block clients before it is reported, so that a short delay of a slow disk or
/// receiver is not.
const REPORT_DELAY: Duration = Duration::from_secs(5);

/// The access logs in use, watched by the control thread, because a writer that is stuck in
/// write(2) cannot report it. Clones share the state.
#[derive(Clone, Default)]
pub(crate) struct BlockedLogs(Arc<Mutex<Vec<BlockedLog>>>);

/// One log, and whether it is reported as blocked.
pub(super) struct BlockedLog {
    to: LogTarget,
    /// Whether clients wait when it is full; otherwise lines are dropped.
    blocks: bool,
    buffers: Arc<LogBuffers>,
    gauge: BlockedGauge,
    /// Since when it blocks clients, while that is reported.
    reported: Option<Since>,
}

/// The workers' buffers for one log.
#[derive(Default)]
pub(super) struct LogBuffers(Mutex<Vec<Weak<BufferState>>>);

/// Since when a worker's buffer has been full, so that clients wait.
#[derive(Default)]
pub(super) struct BufferState(Mutex<Option<Since>>);

#[derive(Clone, Copy)]
pub(super) struct Since {
    at: Instant,
    time: SystemTime,
}

impl BlockedLogs {
    /// Why the proxy is not ready for new clients, if a log blocks them.
    pub(crate) fn blocked_reason(&self) -> Option<String> {
        let logs = self.logs();
        logs.iter().find_map(|log| Some((log, log.blocked_since()?))).map(|(log, since)| {
            format!(
                "access log {} has blocked new clients since {}: {}",
                log.to,
                rfc3339(since.time),
                log.advice(),
            )
        })
    }

    /// Reports changes in the metrics and in the program's log.
    pub(crate) fn update(&self) {
        self.logs().iter_mut().for_each(BlockedLog::update);
    }

    /// Continues with these logs. Those that were reported as blocked and are removed, or drop
    /// lines now, are reported as no longer blocked.
    pub(super) fn set(&self, logs: impl Iterator<Item = BlockedLog>) {
        let mut current = self.logs();
        let mut old = std::mem::take(&mut *current);
        current.extend(logs);
        for log in &mut *current {
            let same = old.iter_mut().find(|old| Arc::ptr_eq(&old.buffers, &log.buffers));
            log.reported = same.and_then(|old| old.reported.take());
        }
        for log in &mut old {
            log.report_end();
        }
        current.iter_mut().for_each(BlockedLog::update);
    }

    fn logs(&self) -> MutexGuard<'_, Vec<BlockedLog>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockedLog {
    pub(super) fn new(
        to: LogTarget,
        blocks: bool,
        buffers: Arc<LogBuffers>,
        gauge: BlockedGauge,
    ) -> Self {
        Self { to, blocks, buffers, gauge, reported: None }
    }

    fn blocked_since(&self) -> Option<Since> {
        let since = self.buffers.full_since().filter(|_| self.blocks)?;
        (since.at.elapsed() >= REPORT_DELAY).then_some(since)
    }

    fn update(&mut self) {
        let blocked = self.blocked_since();
        self.gauge.set(blocked.is_some());
        match (blocked, self.reported) {
            (Some(since), None) => {
                self.reported = Some(since);
                tracing::error!(
                    log = %self.to,
                    "access log has blocked new clients for {} s, so this proxy is not ready: {}",
                    since.at.elapsed().as_secs(),
                    self.advice(),
                );
            }
            (None, Some(_)) => self.report_end(),
            _ => {}
        }
    }

    fn report_end(&mut self) {
        if let Some(since) = self.reported.take() {
            tracing::info!(
                log = %self.to,
                "access log no longer blocks new clients; it did for {} s",
                since.at.elapsed().as_secs(),
            );
        }
    }

    fn advice(&self) -> &'static str {
        match self.to {
            LogTarget::File(_) => {
                "free disk space, or have the reader of its pipe continue; or set when_full: drop and \
                 reload"
            }
            LogTarget::Stdout => {
                "have the reader of standard output continue, or free disk space; or set when_full: \
                 drop and reload"
            }
            LogTarget::Syslog(_) => {
                "start the receiver, or have it continue; or set when_full: drop and reload"
            }
        }
    }
}

impl LogBuffers {
    /// Adds a worker's buffer.
    pub(super) fn add(&self) -> Arc<BufferState> {
        let state = Arc::default();
        let mut buffers = self.buffers();
        buffers.retain(|buffer| buffer.strong_count() > 0);
        buffers.push(Arc::downgrade(&state));
        state
    }

    /// Since when the buffer that filled up first has been full.
    fn full_since(&self) -> Option<Since> {
        let buffers = self.buffers();
        let since = buffers.iter().filter_map(|buffer| buffer.upgrade()?.since());
        since.min_by_key(|since| since.at)
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Weak<BufferState>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BufferState {
    /// Records that the buffer is full; if it already was, the time stays.
    pub(super) fn set_full(&self) {
        let now = || Since { at: Instant::now(), time: SystemTime::now() };
        self.since_lock().get_or_insert_with(now);
    }

    /// Records that the buffer is no longer full.
    pub(super) fn clear(&self) {
        self.since_lock().take();
    }

    /// Continues the state of the buffer that this one replaces.
    pub(super) fn take_over(&self, other: &Self) {
        *self.since_lock() = other.since_lock().take();
    }

    fn since(&self) -> Option<Since> {
        *self.since_lock()
    }

    fn since_lock(&self) -> MutexGuard<'_, Option<Since>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
