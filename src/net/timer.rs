//! Deadlines of handshakes and dials, and sleeps of a worker's own tasks.
//!
//! A relaying session has no timer: the worker's sweep enforces its limits.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::reactor::Reactor;

/// The deadline passed before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// Runs `future` until `at`. A future that is ready at once costs no timer.
///
/// The future is passed pinned: an `async fn` that pins its own argument stores it twice.
pub(crate) async fn deadline<F: Future>(
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
pub(crate) async fn sleep(reactor: &Rc<Reactor>, duration: Duration) {
    Sleep { reactor, at: reactor.now() + duration, seq: None }.await;
}

struct Sleep<'a> {
    reactor: &'a Reactor,
    at: Instant,
    /// Distinguishes timers of the same instant; `None` until this one is set.
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
