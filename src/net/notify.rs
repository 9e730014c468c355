//! How other threads wake a worker that waits in its epoll.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes a worker, from any thread.
#[derive(Debug)]
pub(crate) struct Notify {
    eventfd: OwnedFd,
    woken: AtomicBool,
    /// The worker waits in the kernel, or is about to: only then does a wake cost a system call.
    asleep: AtomicBool,
}

impl Notify {
    pub(super) fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { eventfd, woken: AtomicBool::new(false), asleep: AtomicBool::new(false) })
    }

    pub(super) fn eventfd(&self) -> &OwnedFd {
        &self.eventfd
    }

    /// Whether the worker was woken since the last call.
    pub(crate) fn take(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::Acquire)
    }

    /// Announces that the worker is about to wait in the kernel; false if it was woken already.
    pub(super) fn prepare_to_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        !self.woken.load(Ordering::SeqCst)
    }

    /// The worker has left the kernel.
    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Resets the eventfd, so that the next wake is an event again.
    pub(super) fn reset(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.eventfd, &mut count);
    }
}

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::SeqCst) && self.asleep.load(Ordering::SeqCst) {
            // Fails only when the counter is full, and then the worker is awake.
            let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
        }
    }
}
