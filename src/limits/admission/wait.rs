//! A client's wait for admission.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Instant,
};

use super::{AdmissionOutcome, AdmissionQueue};

/// The wait of one client. When dropped, it leaves the queue, so that no token is spent on it.
pub struct AdmissionWait<'a> {
    queue: &'a AdmissionQueue,
    /// The client's number in the queue.
    number: Option<u64>,
    since: Instant,
}

impl AdmissionQueue {
    /// Waits for a token. The client joins the queue when the wait is first polled.
    pub fn wait(&self, now: Instant) -> AdmissionWait<'_> {
        AdmissionWait { queue: self, number: None, since: now }
    }
}

impl Future for AdmissionWait<'_> {
    type Output = AdmissionOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<AdmissionOutcome> {
        let mut queue = self.queue.queue();
        if let Some(number) = self.number {
            let Some(outcome) = queue.outcome(number, cx.waker()) else { return Poll::Pending };
            drop(queue);
            self.number = None;
            return Poll::Ready(outcome);
        }
        // The limit may have been removed since the client was told to wait.
        if !self.queue.is_limited.load(Ordering::Relaxed) {
            return Poll::Ready(AdmissionOutcome::Admitted);
        }
        let (number, is_first) = queue.join(cx.waker().clone(), self.since);
        drop(queue);
        self.number = Some(number);
        if is_first {
            self.queue.queued.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for AdmissionWait<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.queue.queue().leave(number);
        }
    }
}
