//! Access logs that hold new clients back: since when, and how that is told.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};

use crate::{config::LogTarget, metrics::BlockedGauge, timestamp::rfc3339};

/// How long a log holds clients back before that is told: what a disk or a receiver that hesitates
/// may take.
const AFTER: Duration = Duration::from_secs(5);

/// The access logs in effect, watched from outside: a writer that stands in write(2) tells nothing.
/// Cloning it shares them.
#[derive(Clone, Default)]
pub struct BlockedLogs(Arc<Mutex<Vec<Watched>>>);

/// One log, and whether it is known to be blocked.
pub(super) struct Watched {
    to: LogTarget,
    /// Whether clients wait for it, rather than lose lines.
    blocks: bool,
    buffers: Arc<Buffers>,
    gauge: BlockedGauge,
    /// What has been told, and not taken back yet.
    told: Option<Since>,
}

/// The buffers that workers have for one log.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Weak<Full>>>);

/// Whether a worker's buffer is full, so that clients wait.
#[derive(Default)]
pub(super) struct Full(Mutex<Option<Since>>);

#[derive(Clone, Copy)]
pub(super) struct Since {
    at: Instant,
    time: SystemTime,
}

impl BlockedLogs {
    /// Why the proxy should be sent no new clients, if a log holds them back.
    pub fn blocked_reason(&self) -> Option<String> {
        let watched = self.watched();
        watched.iter().find_map(|one| Some((one, one.blocked()?))).map(|(one, since)| {
            format!(
                "access log {} has held new clients back since {}: {}",
                one.to,
                rfc3339(since.time),
                one.advice(),
            )
        })
    }

    /// Tells in the metrics and in the program's log what has changed.
    pub fn update(&self) {
        self.watched().iter_mut().for_each(Watched::look);
    }

    /// Goes on with these logs. What held clients back and is among them no more, or drops now, ends.
    pub(super) fn set(&self, logs: impl Iterator<Item = Watched>) {
        let mut watched = self.watched();
        let mut old = std::mem::take(&mut *watched);
        watched.extend(logs);
        for one in &mut *watched {
            let same = old.iter_mut().find(|old| Arc::ptr_eq(&old.buffers, &one.buffers));
            one.told = same.and_then(|old| old.told.take());
        }
        for one in &mut old {
            one.take_back();
        }
        watched.iter_mut().for_each(Watched::look);
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    pub(super) fn new(
        to: LogTarget,
        blocks: bool,
        buffers: Arc<Buffers>,
        gauge: BlockedGauge,
    ) -> Self {
        Self { to, blocks, buffers, gauge, told: None }
    }

    fn blocked(&self) -> Option<Since> {
        let since = self.buffers.full_since().filter(|_| self.blocks)?;
        (since.at.elapsed() >= AFTER).then_some(since)
    }

    fn look(&mut self) {
        let blocked = self.blocked();
        self.gauge.set(blocked.is_some());
        match (blocked, self.told) {
            (Some(since), None) => {
                self.told = Some(since);
                tracing::error!(
                    log = %self.to,
                    "access log has held new clients back for {} s, so that this proxy is not \
                     ready: {}",
                    since.at.elapsed().as_secs(),
                    self.advice(),
                );
            }
            (None, Some(_)) => self.take_back(),
            _ => {}
        }
    }

    fn take_back(&mut self) {
        if let Some(since) = self.told.take() {
            tracing::info!(
                log = %self.to,
                "access log holds new clients back no longer; it did for {} s",
                since.at.elapsed().as_secs(),
            );
        }
    }

    fn advice(&self) -> &'static str {
        match self.to {
            LogTarget::File(_) => {
                "make room on its disk, or have the reader of its pipe go on; or set when_full: \
                 drop, and reload"
            }
            LogTarget::Stdout => {
                "have the reader of standard output go on, or make room on its disk; or set \
                 when_full: drop, and reload"
            }
            LogTarget::Syslog(_) => {
                "start the receiver, or have it go on; or set when_full: drop, and reload"
            }
        }
    }
}

impl Buffers {
    /// One more buffer.
    pub(super) fn add(&self) -> Arc<Full> {
        let full = Arc::default();
        let mut buffers = self.buffers();
        buffers.retain(|buffer| buffer.strong_count() > 0);
        buffers.push(Arc::downgrade(&full));
        full
    }

    /// Since when one of them is full.
    fn full_since(&self) -> Option<Since> {
        let buffers = self.buffers();
        let since = buffers.iter().filter_map(|buffer| buffer.upgrade()?.since());
        since.min_by_key(|since| since.at)
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Weak<Full>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Full {
    /// It is full now, or still.
    pub(super) fn begin(&self) {
        let now = || Since { at: Instant::now(), time: SystemTime::now() };
        self.full().get_or_insert_with(now);
    }

    pub(super) fn end(&self) {
        self.full().take();
    }

    /// It is full for as long as the one in whose place it comes.
    pub(super) fn take_over(&self, other: &Self) {
        *self.full() = other.full().take();
    }

    fn since(&self) -> Option<Since> {
        *self.full()
    }

    fn full(&self) -> MutexGuard<'_, Option<Since>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
