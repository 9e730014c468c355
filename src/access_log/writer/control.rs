//! Requests of the control thread to a running writer.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::config::{AccessLog, Rotate, WhenFull};

/// Shared by a writer's thread and its handle.
pub(in crate::access_log) struct WriterControl {
    /// Whether lines that cannot be written are dropped ([`WhenFull::Drop`]).
    drops: AtomicBool,
    rotate: Mutex<Option<Rotate>>,
    reopen: AtomicBool,
    /// When a closing writer stops trying.
    give_up_at: OnceLock<Instant>,
}

impl WriterControl {
    pub(super) fn new(log: &AccessLog) -> Self {
        let control = Self {
            drops: AtomicBool::new(false),
            rotate: Mutex::new(None),
            reopen: AtomicBool::new(false),
            give_up_at: OnceLock::new(),
        };
        control.configure(log);
        control
    }

    pub(super) fn configure(&self, log: &AccessLog) {
        self.drops.store(log.when_full == WhenFull::Drop, Ordering::Relaxed);
        *self.rotate.lock().unwrap_or_else(PoisonError::into_inner) = log.rotate;
    }

    pub(super) fn drops(&self) -> bool {
        self.drops.load(Ordering::Relaxed)
    }

    pub(super) fn rotate(&self) -> Option<Rotate> {
        *self.rotate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that the file be opened again before the next line is written.
    pub(super) fn request_reopen(&self) {
        self.reopen.store(true, Ordering::Release);
    }

    /// Whether a reopening was requested since the last call.
    pub(super) fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::AcqRel)
    }

    /// Sets the deadline of a closing writer, once.
    pub(super) fn give_up_at(&self, deadline: Instant) {
        let _ = self.give_up_at.set(deadline);
    }

    /// `timeout`, or the time until the deadline if that is shorter.
    pub(super) fn cap(&self, timeout: Duration) -> Duration {
        match self.give_up_at.get() {
            Some(deadline) => timeout.min(deadline.saturating_duration_since(Instant::now())),
            None => timeout,
        }
    }

    /// Whether the deadline has passed.
    pub(super) fn is_overdue(&self) -> bool {
        self.give_up_at.get().is_some_and(|deadline| *deadline <= Instant::now())
    }
}
