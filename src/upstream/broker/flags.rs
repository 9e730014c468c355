//! What workers read of a broker's health without a lock; its pool writes it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The outcome of the pool's decisions about one broker.
#[derive(Debug)]
pub(in crate::upstream) struct BrokerFlags {
    /// Sessions on the broker and on their way to it.
    pub(super) sessions: AtomicU32,
    /// A [`Serving`].
    serving: AtomicU8,
    /// The operator, the checks and the clients have nothing against it.
    pub(in crate::upstream) up: AtomicBool,
    /// Its sessions are to end as the pool's `on_down` says.
    pub(in crate::upstream) dead: AtomicBool,
    /// It is draining, or no longer in the pool.
    pub(in crate::upstream) leaving: AtomicBool,
    /// It is no longer in the configuration, alone or with its pool.
    pub(in crate::upstream) removed: AtomicBool,
    /// The pool wants to know of the next client that it answers.
    pub(in crate::upstream) suspect: AtomicBool,
    /// When a client was last answered, in milliseconds of the pool's life.
    pub(in crate::upstream) answered: AtomicU64,
    /// When its slow start began, in milliseconds of the pool's life; 0: it has its full share.
    pub(in crate::upstream) warming_since: AtomicU64,
}

/// Whether a broker is given sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::upstream) enum Serving {
    No,
    Yes,
    /// One session, to see how it fares.
    Trial,
    /// That session is on its way.
    TrialTaken,
}

impl Default for BrokerFlags {
    /// Those of a broker about which nothing is known yet.
    fn default() -> Self {
        Self {
            sessions: AtomicU32::new(0),
            serving: AtomicU8::new(Serving::No as u8),
            up: AtomicBool::new(false),
            dead: AtomicBool::new(false),
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

    /// Leaves a trial that is on its way as it is, so that it is not offered twice.
    pub(super) fn set_serving(&self, serving: Serving) {
        let order = Ordering::Relaxed;
        let _ = self.serving.fetch_update(order, order, |now| {
            let taken = serving == Serving::Trial && now == Serving::TrialTaken as u8;
            (!taken).then_some(serving as u8)
        });
    }

    /// Whether the session that starts now is a trial; `None` where it may not start.
    pub(super) fn take_trial(&self) -> Option<bool> {
        match self.swap(Serving::Trial, Serving::TrialTaken) {
            Ok(_) => Some(true),
            Err(now) => (now == Serving::Yes as u8).then_some(false),
        }
    }

    /// The trial is over without a result: the next client is the trial, unless the pool has
    /// decided otherwise meanwhile.
    pub(super) fn give_back_trial(&self) {
        let _ = self.swap(Serving::TrialTaken, Serving::Trial);
    }

    fn swap(&self, from: Serving, to: Serving) -> Result<u8, u8> {
        let order = Ordering::Relaxed;
        self.serving.compare_exchange(from as u8, to as u8, order, order)
    }
}
