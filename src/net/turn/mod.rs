//! The budget of a worker's turn: what runs between two polls of its sockets.
//!
//! A turn runs the tasks that its events woke. Work that could delay others joins a [`TurnQueue`],
//! which admits a bounded share in each turn: slices of bulk streams by their bytes, heavy tasks
//! (the signatures of TLS handshakes) and walks through all sessions by their number. The rest
//! waits for the next turn, which starts with the next events.

#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// The most bytes that a bulk stream moves in a turn, in each direction: about 150 µs with
/// `splice`, during which pings of others wait. Measured with 4 and 16 streams: 256 KiB raised the
/// cost per byte by a quarter, and 1 MiB doubled the median latency of the pings.
pub(crate) const FLOW_BYTES: usize = 512 * 1024;

/// Bulk bytes after which a turn admits no further stream.
const BULK_BYTES_PER_TURN: usize = FLOW_BYTES;

/// The fewest bytes that an admitted stream counts for, however few it moves.
const MIN_BULK_BYTES: usize = BULK_BYTES_PER_TURN / 16;

/// A step of a handshake that takes this long is a heavy task: a signature or a key exchange. A
/// turn admits one. Shorter steps, such as one that finds nothing to read yet, do not count as
/// heavy.
const HEAVY_STEP_TIME: Duration = Duration::from_micros(50);

/// Steps of handshakes that a turn admits at most, however light they are.
const STEPS_PER_TURN: u32 = 16;

/// The capacity, in waiters, that an empty queue keeps.
const MAX_IDLE_CAPACITY: usize = 256;

/// The rest of a worker's turn.
#[derive(Default)]
pub(crate) struct TurnBudget {
    /// Streams that have more to move.
    pub bulk: TurnQueue,
    /// Handshakes that have something to do.
    pub(super) handshakes: TurnQueue,
    /// Walks through all sessions, a chunk at a time.
    pub walks: TurnQueue,
    bulk_bytes: Cell<usize>,
    heavy: Cell<bool>,
    steps: Cell<u32>,
    walked: Cell<bool>,
}

impl TurnBudget {
    /// Begins the next turn.
    pub(super) fn begin(&self) {
        self.bulk_bytes.set(0);
        self.heavy.set(false);
        self.steps.set(0);
        self.walked.set(false);
    }

    /// Wakes the next task that fits into this turn; returns whether there was one. The task has to
    /// run before the next call, or its part of the budget counts as unused.
    pub(crate) fn admit(&self) -> bool {
        if self.has_time_for_step() && self.handshakes.admit() {
            self.steps.set(self.steps.get() + 1);
            return true;
        }
        if !self.walked.get() && self.walks.admit() {
            self.walked.set(true);
            return true;
        }
        if self.bulk_bytes.get() < BULK_BYTES_PER_TURN && self.bulk.admit() {
            self.spend(MIN_BULK_BYTES);
            return true;
        }
        false
    }

    fn has_time_for_step(&self) -> bool {
        !self.heavy.get() && self.steps.get() < STEPS_PER_TURN
    }

    /// Counts what a bulk stream has moved.
    pub(crate) fn spend(&self, bytes: usize) {
        self.bulk_bytes.set(self.bulk_bytes.get().saturating_add(bytes));
    }

    /// Whether any tasks wait for the next turn.
    pub(super) fn has_waiting(&self) -> bool {
        !(self.bulk.is_empty() && self.handshakes.is_empty() && self.walks.is_empty())
    }

    /// Runs each step of a handshake, or another heavy task, when a turn has time for it: at once if no other waits, so
    /// that a timely step does not miss its deadline in the queue.
    pub(crate) async fn pace<F: Future>(&self, mut handshake: Pin<&mut F>) -> F::Output {
        let mut ticket = TurnTicket::default();
        poll_fn(|cx| {
            if self.handshakes.is_empty() && self.has_time_for_step() {
                self.steps.set(self.steps.get() + 1);
                // It may have been admitted in an earlier turn without running since.
                ticket = TurnTicket::default();
            } else if self.handshakes.wait(&mut ticket, cx).is_pending() {
                return Poll::Pending;
            }
            let began = Instant::now();
            let polled = handshake.as_mut().poll(cx);
            if began.elapsed() >= HEAVY_STEP_TIME {
                self.heavy.set(true);
            }
            polled
        })
        .await
    }
}

/// Tasks that wait for their share of a turn, first come, first served.
#[derive(Default)]
pub(crate) struct TurnQueue {
    waiting: RefCell<VecDeque<Waker>>,
    /// How many tasks have been admitted since the worker started; a [`TurnTicket`] refers to it.
    admitted: Cell<u32>,
}

/// A task's number in a [`TurnQueue`]; by default it is not in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TurnTicket(Option<std::num::NonZeroU32>);

impl TurnQueue {
    /// Ready once the task has been admitted, which uses up its ticket. Without one it joins the
    /// queue; it is woken when it is admitted.
    pub(crate) fn wait(&self, ticket: &mut TurnTicket, cx: &Context<'_>) -> Poll<()> {
        if self.take_turn(ticket) {
            return Poll::Ready(());
        }
        self.join(ticket, cx);
        Poll::Pending
    }

    /// Whether a task that joined has been admitted since, which uses up its ticket.
    pub(crate) fn take_turn(&self, ticket: &mut TurnTicket) -> bool {
        let is_admitted = ticket.0.is_some_and(|number| {
            // Numbers wrap around at 2^32: the difference tells which is later.
            self.admitted.get().wrapping_sub(number.get()).cast_signed() >= 0
        });
        if is_admitted {
            *ticket = TurnTicket::default();
        }
        is_admitted
    }

    /// Joins the queue, unless the task is in it already.
    pub(crate) fn join(&self, ticket: &mut TurnTicket, cx: &Context<'_>) {
        if ticket.0.is_none() {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push_back(cx.waker().clone());
            let number = self.admitted.get().wrapping_add(waiting.len() as u32);
            *ticket = TurnTicket(std::num::NonZeroU32::new(number));
        }
    }

    /// Waits to be admitted once.
    pub(crate) async fn turn(&self) {
        let mut ticket = TurnTicket::default();
        poll_fn(|cx| self.wait(&mut ticket, cx)).await;
    }

    fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Wakes the first waiting task; returns whether there was one.
    fn admit(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let Some(waker) = waiting.pop_front() else { return false };
        if waiting.is_empty() && waiting.capacity() > MAX_IDLE_CAPACITY {
            waiting.shrink_to(MAX_IDLE_CAPACITY);
        }
        drop(waiting);
        self.admitted.set(self.admitted.get().wrapping_add(1));
        waker.wake();
        true
    }
}
