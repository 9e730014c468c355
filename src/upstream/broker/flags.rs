//! The state of a broker that workers read without a lock. Its pool writes it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The pool's decisions about one broker.
#[derive(Debug)]
pub(crate) struct BrokerFlags {
    /// The number of the broker's sessions, including those being dialled.
    pub(super) sessions: AtomicU32,
    /// A [`Serving`].
    serving: AtomicU8,
    /// The operator, the checks and the clients all allow it to serve.
    pub(crate) up: AtomicBool,
    /// It was found down, or the operator set it down: its sessions follow the pool's `on_down`.
    pub(crate) down: AtomicBool,
    /// It is draining, or is no longer in the pool.
    pub(crate) leaving: AtomicBool,
    /// It was removed from the configuration, alone or with its pool.
    pub(crate) removed: AtomicBool,
    /// The pool has to be notified when it answers the next client.
    pub(crate) suspect: AtomicBool,
    /// When it last answered a client, in milliseconds since the pool's start; 0 if never.
    pub(crate) answered: AtomicU64,
    /// When its slow start began, in milliseconds since the pool's start; 0 if it is not in a slow
    /// start.
    pub(crate) warming_since: AtomicU64,
}

/// Whether a broker is given sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Serving {
    No,
    Yes,
    /// It is given one session as a trial.
    Trial,
    /// The trial session is being dialled.
    TrialTaken,
}

impl Default for BrokerFlags {
    /// The flags of a broker about which nothing is known yet.
    fn default() -> Self {
        Self {
            sessions: AtomicU32::new(0),
            serving: AtomicU8::new(Serving::No as u8),
            up: AtomicBool::new(false),
            down: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            warming_since: AtomicU64::new(0),
        }
    }
}

impl BrokerFlags {
    pub(super) fn is(&self, serving: Serving) -> bool {
        self.serving.load(Ordering::Relaxed) == serving as u8
    }

    /// Leaves a running trial as it is, so that there are never two.
    pub(super) fn set_serving(&self, serving: Serving) {
        let order = Ordering::Relaxed;
        let _ = self.serving.fetch_update(order, order, |now| {
            let taken = serving == Serving::Trial && now == Serving::TrialTaken as u8;
            (!taken).then_some(serving as u8)
        });
    }

    /// Whether the session that starts now is a trial; `None` if it may not start.
    pub(super) fn take_trial(&self) -> Option<bool> {
        match self.swap(Serving::Trial, Serving::TrialTaken) {
            Ok(_) => Some(true),
            Err(now) => (now == Serving::Yes as u8).then_some(false),
        }
    }

    /// Ends a trial without a result: the next client becomes the trial, unless the pool has
    /// decided otherwise in the meantime.
    pub(super) fn give_back_trial(&self) {
        let _ = self.swap(Serving::TrialTaken, Serving::Trial);
    }

    fn swap(&self, from: Serving, to: Serving) -> Result<u8, u8> {
        let order = Ordering::Relaxed;
        self.serving.compare_exchange(from as u8, to as u8, order, order)
    }
}
