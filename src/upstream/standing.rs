//! How a broker stands, whatever its address: what workers read of what its pool has judged.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};

/// Stays with the broker's name, through reloads that change its address or its limits.
#[derive(Debug)]
pub(super) struct Standing {
    /// Sessions there and on their way there.
    pub(super) sessions: AtomicU32,
    /// A [`Serving`].
    pub(super) serving: AtomicU8,
    /// Whether the checks, and the clients it served, have nothing against it.
    pub(super) up: AtomicBool,
    pub(super) dead: AtomicBool,
    pub(super) leaving: AtomicBool,
    /// Taken out of the configuration, alone or with its pool.
    pub(super) removed: AtomicBool,
    /// Whether a good answer would be news to its pool.
    pub(super) suspect: AtomicBool,
    /// Milliseconds of the pool's life at which a client was last answered.
    pub(super) answered: AtomicU64,
    /// Milliseconds of the pool's life at which its slow start began; 0: it has its full share.
    pub(super) warming_since: AtomicU64,
}

/// Whether a broker is given sessions, as an [`AtomicU8`] holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Serving {
    No,
    Yes,
    /// One, to see how it fares.
    Trial,
    /// That one is on its way.
    TrialTaken,
}

impl Default for Standing {
    /// That of a broker which nobody has heard of yet.
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
