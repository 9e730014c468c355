//! A client in an admission queue, and whether it has been woken.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use mqtt_lb::testing::{limits::AdmissionOutcome, upstream::Broker};

pub(crate) struct Waiter {
    pub(crate) broker: Arc<Broker>,
    pub(crate) key: String,
    turn: Pin<Box<dyn Future<Output = AdmissionOutcome> + Send>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Waiter {
    /// Takes a place in the queue; the broker where there is nothing to wait for.
    pub(crate) fn new(broker: Arc<Broker>, key: String, now: Instant) -> Result<Self, Arc<Broker>> {
        let queue = broker.clone();
        let turn = Box::pin(async move { queue.admission.wait(now).await });
        let mut waiter = Self { broker, key, turn, woken: Arc::default() };
        match waiter.poll() {
            Some(_) => Err(waiter.broker),
            None => Ok(waiter),
        }
    }

    /// Takes a look only when it was woken, as a task does.
    pub(crate) fn decision(&mut self) -> Option<AdmissionOutcome> {
        if !self.woken.0.swap(false, Ordering::SeqCst) {
            return None;
        }
        self.poll()
    }

    fn poll(&mut self) -> Option<AdmissionOutcome> {
        let waker = Waker::from(self.woken.clone());
        match self.turn.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(admission) => Some(admission),
            Poll::Pending => None,
        }
    }
}
