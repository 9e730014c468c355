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
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::{Duration, Instant, SystemTime},
};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use slab::Slab;

use super::{buffer::Buffers, timer::Timers, turn::TurnBudget};

/// Events taken from the kernel at a time: enough to spread the cost of the call, few enough that
/// the first of them is not kept waiting for the last.
const EVENTS_PER_TURN: usize = 256;

/// Sockets whose tasks are woken at a time.
const WOKEN_AT_A_TIME: usize = 32;

/// The token of the eventfd by which other threads wake the worker.
const NOTIFY_TOKEN: u64 = u64::MAX;

/// A worker's epoll, its timers and its clock.
pub struct Reactor {
    epoll: OwnedFd,
    slots: RefCell<Slab<Slot>>,
    generation: Cell<u32>,
    events: RefCell<Vec<epoll::Event>>,
    pub(super) timers: Timers,
    pub(super) buffers: Buffers,
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
    pub fn new() -> io::Result<Rc<Self>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let notify = Arc::new(Notify::new()?);
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &notify.eventfd, epoll::EventData::new_u64(NOTIFY_TOKEN), edge)?;
        Ok(Rc::new(Self {
            epoll,
            slots: RefCell::default(),
            generation: Cell::new(0),
            events: RefCell::new(Vec::with_capacity(EVENTS_PER_TURN)),
            timers: Timers::default(),
            buffers: Buffers::default(),
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

    /// The time at which this turn began. Read once a turn, since a call for each use would show.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Whole seconds from the worker's start to this turn.
    pub fn seconds(&self) -> u32 {
        self.seconds.get()
    }

    /// The wall clock at which this turn began.
    pub fn wall_clock(&self) -> SystemTime {
        self.wall.get()
    }

    /// What wakes this worker from elsewhere.
    pub fn notify(&self) -> &Arc<Notify> {
        &self.notify
    }

    /// Waits for sockets, timers or [`Notify`], at most for `limit`, wakes the tasks concerned and
    /// begins a [`TurnBudget`].
    pub fn wait(&self, limit: Duration) -> io::Result<()> {
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
        let token = Token::from_u64(token);
        let mut slots = self.slots.borrow_mut();
        // A slot may have been freed, and taken again, by an earlier event of this turn.
        if let Some(slot) = slots.get_mut(token.index as usize)
            && slot.generation == token.generation
        {
            let before = slot.ready;
            slot.ready.add(event.flags);
            // Whoever waits does so because a bit was missing: an event that brings none, such as
            // that a new socket can be written to, need wake nobody.
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
        ready: Ready,
    ) -> io::Result<Token> {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let index = self.slots.borrow_mut().insert(Slot { generation, ready, waker: None });
        let token = Token { index: index as u32, generation };
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
        token: Token,
        interest: epoll::EventFlags,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.to_u64());
        Ok(epoll::modify(&self.epoll, source, data, interest)?)
    }

    /// Forgets a socket that is about to be closed; closing is what takes it out of the epoll.
    pub(super) fn forget(&self, token: Token) {
        self.slots.borrow_mut().remove(token.index as usize);
    }

    /// Forgets a socket that others may hold too: for them, closing it here takes nothing out, and the
    /// epoll would go on to wake this thread.
    pub(super) fn remove(&self, source: impl AsFd, token: Token) {
        // It is there: nothing else takes it out.
        let _ = epoll::delete(&self.epoll, source);
        self.forget(token);
    }

    pub(super) fn ready(&self, token: Token) -> Ready {
        self.slots.borrow()[token.index as usize].ready
    }

    pub(super) fn clear(&self, token: Token, what: Ready) {
        self.slots.borrow_mut()[token.index as usize].ready.remove(what);
    }

    /// Has `cx` woken at this socket's next event, either way: one task owns a socket.
    pub(super) fn watch(&self, token: Token, cx: &Context<'_>) {
        let waker = &mut self.slots.borrow_mut()[token.index as usize].waker;
        match waker {
            Some(old) if old.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// Wakes some of those who wait for sockets, from a slot on; tells where to go on.
    pub fn wake_some(&self, from: usize) -> Option<usize> {
        let slots = self.slots.borrow();
        let to = from.saturating_add(WOKEN_AT_A_TIME);
        for slot in (from..to.min(slots.capacity())).filter_map(|index| slots.get(index)) {
            if let Some(waker) = &slot.waker {
                waker.wake_by_ref();
            }
        }
        (to < slots.capacity()).then_some(to)
    }

    pub(super) fn wake(&self, token: Token) {
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
    ready: Ready,
    waker: Option<Waker>,
}

/// A slot and its occupant's number, so that a late event cannot reach the next occupant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    index: u32,
    generation: u32,
}

impl Token {
    fn from_u64(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 }
    }

    fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// What the kernel last said of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready(u8);

impl Ready {
    pub(super) const NONE: Self = Self(0);
    pub(super) const READ: Self = Self(1);
    pub(super) const WRITE: Self = Self(2);
    /// The peer has ended its side, or the connection is gone: the next reads reach that end.
    pub(super) const ENDED: Self = Self(4);
    /// Nothing can be sent to the peer any more.
    pub(super) const BROKEN: Self = Self(8);

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn has(self, what: Self) -> bool {
        self.0 & what.0 != 0
    }

    fn remove(&mut self, what: Self) {
        self.0 &= !what.0;
    }

    fn add(&mut self, events: epoll::EventFlags) {
        use epoll::EventFlags as E;
        if events.intersects(E::IN | E::RDHUP | E::HUP | E::ERR) {
            self.0 |= Self::READ.0;
        }
        if events.intersects(E::OUT | E::HUP | E::ERR) {
            self.0 |= Self::WRITE.0;
        }
        if events.intersects(E::RDHUP | E::HUP | E::ERR) {
            self.0 |= Self::ENDED.0;
        }
        if events.intersects(E::HUP | E::ERR) {
            self.0 |= Self::BROKEN.0;
        }
    }
}

/// Wakes a worker, from its own thread or another's.
#[derive(Debug)]
pub struct Notify {
    eventfd: OwnedFd,
    woken: AtomicBool,
    /// Only a worker that is, or is about to be, asleep in the kernel costs a system call to wake.
    asleep: AtomicBool,
}

impl Notify {
    fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { eventfd, woken: AtomicBool::new(false), asleep: AtomicBool::new(false) })
    }

    /// Whether a wake has come since the last call.
    pub fn take(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::Acquire)
    }

    fn prepare_to_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        !self.woken.load(Ordering::SeqCst)
    }

    fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    fn reset(&self) {
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
            // Fails only when the counter is full, and then the worker is awake anyway.
            let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
        }
    }
}
