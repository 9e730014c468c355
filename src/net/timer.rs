//! Deadlines of handshakes and dials, and the sleeps of a worker's own tasks.
//!
//! A relaying session has no timer: the worker's sweep looks after it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::reactor::Reactor;

/// The deadline passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Runs `future` until `at`. A future that is ready at once costs no timer.
///
/// It is taken pinned: an `async fn` that pins its own argument has room for it twice.
pub async fn deadline<F: Future>(
    reactor: &Rc<Reactor>,
    at: Instant,
    mut future: Pin<&mut F>,
) -> Result<F::Output, Elapsed> {
    let mut timer = Sleep { reactor, at, seq: None };
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut timer).poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// Waits for `duration`.
pub async fn sleep(reactor: &Rc<Reactor>, duration: Duration) {
    Sleep { reactor, at: reactor.now() + duration, seq: None }.await;
}

struct Sleep<'a> {
    reactor: &'a Reactor,
    at: Instant,
    /// This timer's place among those of the same instant, once it is set.
    seq: Option<u64>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.at <= self.reactor.now() {
            return Poll::Ready(());
        }
        let seq = self.reactor.timers.set(self.at, self.seq, cx.waker());
        self.seq = Some(seq);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(seq) = self.seq {
            self.reactor.timers.cancel(self.at, seq);
        }
    }
}

/// All timers of a worker. Few are set at a time, so a sorted map does.
#[derive(Default)]
pub(super) struct Timers {
    set: RefCell<BTreeMap<(Instant, u64), Waker>>,
    seq: Cell<u64>,
}

impl Timers {
    pub(super) fn next(&self) -> Option<Instant> {
        self.set.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn fire(&self, now: Instant) {
        loop {
            let mut set = self.set.borrow_mut();
            let Some(first) = set.first_entry() else { return };
            if first.key().0 > now {
                return;
            }
            let waker = first.remove();
            drop(set);
            waker.wake();
        }
    }

    fn set(&self, at: Instant, seq: Option<u64>, waker: &Waker) -> u64 {
        let seq = seq.unwrap_or_else(|| {
            self.seq.set(self.seq.get() + 1);
            self.seq.get()
        });
        self.set.borrow_mut().insert((at, seq), waker.clone());
        seq
    }

    fn cancel(&self, at: Instant, seq: u64) {
        self.set.borrow_mut().remove(&(at, seq));
    }
}
