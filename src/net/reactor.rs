//! One epoll instance, the sockets registered with it, and the worker's clock.
//!
//! Why not tokio's own driver: it keeps 256 bytes of shared, locked state for each socket and asks
//! the kernel to forget a socket before closing it. Here a socket costs a 32-byte slot, `close` is
//! enough, and a worker's tasks still run on a tokio `LocalSet`.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant, SystemTime},
};

use rustix::event::{Timespec, epoll};
use slab::Slab;

use super::{
    buffer::LayerBuffers,
    notify::Notify,
    readiness::{Readiness, SocketToken},
    timers::Timers,
    turn::TurnBudget,
};

/// Events taken from the kernel per call: enough to spread the cost of the call, but few enough
/// that the last one does not wait long for the others.
const EVENTS_PER_TURN: usize = 256;

/// Slots that one call of [`Reactor::wake_some`] visits.
const SOCKETS_PER_WAKE: usize = 32;

/// The epoll data of the eventfd through which other threads wake the worker.
const NOTIFY_TOKEN: u64 = u64::MAX;

/// A worker's epoll, its timers and its clock.
pub(crate) struct Reactor {
    epoll: OwnedFd,
    slots: RefCell<Slab<Slot>>,
    generation: Cell<u32>,
    events: RefCell<Vec<epoll::Event>>,
    pub(super) timers: Timers,
    pub(super) buffers: LayerBuffers,
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
    pub turn: TurnBudget,
    started: Instant,
    now: Cell<Instant>,
    seconds: Cell<u32>,
    wall: Cell<SystemTime>,
    notify: Arc<Notify>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let notify = Arc::new(Notify::new()?);
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, notify.eventfd(), epoll::EventData::new_u64(NOTIFY_TOKEN), edge)?;
        Ok(Rc::new(Self {
            epoll,
            slots: RefCell::default(),
            generation: Cell::new(0),
            events: RefCell::new(Vec::with_capacity(EVENTS_PER_TURN)),
            timers: Timers::default(),
            buffers: LayerBuffers::default(),
            #[cfg(test)]
            faults: super::tests::Faults::default(),
            turn: TurnBudget::default(),
            started: Instant::now(),
            now: Cell::new(Instant::now()),
            seconds: Cell::new(0),
            wall: Cell::new(SystemTime::now()),
            notify,
        }))
    }

    /// When this turn began. The clock is read once per turn: reading it per use shows up in
    /// profiles.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Whole seconds from the worker's start to this turn.
    pub(crate) fn seconds(&self) -> u32 {
        self.seconds.get()
    }

    /// The wall-clock time at which this turn began.
    pub(crate) fn wall_clock(&self) -> SystemTime {
        self.wall.get()
    }

    /// Wakes this worker from other threads.
    pub(crate) fn notify(&self) -> &Arc<Notify> {
        &self.notify
    }

    /// Waits for sockets, timers or [`Notify`], at most for `limit`; then renews the [`TurnBudget`]
    /// and wakes the tasks concerned.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<()> {
        let timeout = if self.notify.prepare_to_sleep() && !self.turn.has_waiting() {
            self.timers
                .next()
                .map_or(limit, |at| limit.min(at.saturating_duration_since(Instant::now())))
        } else {
            Duration::ZERO
        };
        let timeout = Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut events = self.events.borrow_mut();
        events.clear();
        let waited =
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout));
        self.notify.awake();
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.turn.begin();
        let now = Instant::now();
        self.now.set(now);
        self.seconds.set(now.duration_since(self.started).as_secs() as u32);
        self.wall.set(SystemTime::now());
        for event in events.iter() {
            self.dispatch(*event);
        }
        self.timers.fire(self.now.get());
        Ok(())
    }

    fn dispatch(&self, event: epoll::Event) {
        let token = event.data.u64();
        if token == NOTIFY_TOKEN {
            self.notify.reset();
            return;
        }
        let token = SocketToken::from_u64(token);
        let mut slots = self.slots.borrow_mut();
        // A slot may have been freed, and taken again, by an earlier event of this turn.
        if let Some(slot) = slots.get_mut(token.index as usize)
            && slot.generation == token.generation
        {
            let before = slot.ready;
            slot.ready.add(event.flags);
            // A task waits because a bit was missing. So an event that sets no new bit, such as
            // "writable" on a new socket, wakes no task.
            if slot.ready != before
                && let Some(waker) = &slot.waker
            {
                waker.wake_by_ref();
            }
        }
    }

    pub(super) fn register(
        &self,
        source: impl AsFd,
        interest: epoll::EventFlags,
        ready: Readiness,
    ) -> io::Result<SocketToken> {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let index = self.slots.borrow_mut().insert(Slot { generation, ready, waker: None });
        let token = SocketToken { index: index as u32, generation };
        let data = epoll::EventData::new_u64(token.to_u64());
        if let Err(error) = epoll::add(&self.epoll, source, data, interest) {
            self.slots.borrow_mut().remove(index);
            return Err(error.into());
        }
        Ok(token)
    }

    pub(super) fn set_interest(
        &self,
        source: impl AsFd,
        token: SocketToken,
        interest: epoll::EventFlags,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.to_u64());
        Ok(epoll::modify(&self.epoll, source, data, interest)?)
    }

    /// Frees the slot of a socket that is about to be closed; closing removes it from the epoll.
    pub(super) fn forget(&self, token: SocketToken) {
        self.slots.borrow_mut().remove(token.index as usize);
    }

    /// Stops the events of a socket that other descriptors may refer to; its slot stays.
    pub(super) fn stop_events(&self, source: impl AsFd) {
        // Cannot fail: the socket is registered until this call.
        let _ = epoll::delete(&self.epoll, source);
    }

    /// Frees the slot of a socket that other descriptors may refer to. Closing one of them does not
    /// remove the socket from the epoll, which would keep waking this thread.
    pub(super) fn remove(&self, source: impl AsFd, token: SocketToken) {
        self.stop_events(source);
        self.forget(token);
    }

    pub(super) fn ready(&self, token: SocketToken) -> Readiness {
        self.slots.borrow()[token.index as usize].ready
    }

    pub(super) fn clear(&self, token: SocketToken, what: Readiness) {
        self.slots.borrow_mut()[token.index as usize].ready.remove(what);
    }

    pub(super) fn assume_readable(&self, token: SocketToken) {
        self.slots.borrow_mut()[token.index as usize].ready.add(epoll::EventFlags::IN);
    }

    /// Wakes `cx` at this socket's next event, readable or writable: one task owns a socket.
    pub(super) fn watch(&self, token: SocketToken, cx: &Context<'_>) {
        let waker = &mut self.slots.borrow_mut()[token.index as usize].waker;
        match waker {
            Some(old) if old.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// Wakes the tasks that wait for sockets in [`SOCKETS_PER_WAKE`] slots, beginning with slot
    /// `from`. Returns the slot to continue with, or `None` after the last one.
    pub(crate) fn wake_some(&self, from: usize) -> Option<usize> {
        let slots = self.slots.borrow();
        let to = from.saturating_add(SOCKETS_PER_WAKE);
        for slot in (from..to.min(slots.capacity())).filter_map(|index| slots.get(index)) {
            if let Some(waker) = &slot.waker {
                waker.wake_by_ref();
            }
        }
        (to < slots.capacity()).then_some(to)
    }

    /// Wakes the task that watches a socket.
    pub(super) fn wake(&self, token: SocketToken) {
        if let Some(slot) = self.slots.borrow().get(token.index as usize)
            && slot.generation == token.generation
            && let Some(waker) = &slot.waker
        {
            waker.wake_by_ref();
        }
    }
}

struct Slot {
    generation: u32,
    ready: Readiness,
    waker: Option<Waker>,
}
