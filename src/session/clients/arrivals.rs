//! The latest CONNECT of each client: it tells a session that its broker ended because a newer
//! connection of the client came from one that ended for another reason. Brokers end the older
//! session before they answer the newer one, so the directory does not have the newer one yet.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::tenant::IdentityHash;

/// Two clients whose hashes fall into one slot overwrite each other, which hides a CONNECT for the
/// few milliseconds that matter: seldom with this many slots. An unused slot takes no memory.
const SLOTS: usize = 1 << 16;

/// How long after a CONNECT the end of an older session is its consequence: more than a broker
/// takes to end it, and the older client to close in turn.
const MOMENTS: Duration = Duration::from_secs(5);

pub(crate) struct Arrivals {
    /// Times are in microseconds from here on, and wrap around after 71 minutes.
    epoch: Instant,
    /// The upper half of the client's hash, and the time of its CONNECT.
    slots: Box<[AtomicU64]>,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { epoch: Instant::now(), slots }
    }

    /// Stores the time at which a CONNECT of this client was complete.
    pub(crate) fn note(&self, client: IdentityHash, at: Instant) {
        let value = client.0 >> 32 << 32 | u64::from(self.micros(at));
        self.slot(client).store(value, Ordering::Release);
    }

    /// Whether a connection newer than the one whose CONNECT was complete at `own` has sent a
    /// CONNECT of this client moments before `now`.
    pub(crate) fn is_newer_than(&self, own: Instant, client: IdentityHash, now: Instant) -> bool {
        let value = self.slot(client).load(Ordering::Acquire);
        let (is_client, at) = (value >> 32 == client.0 >> 32, value as u32);
        // Each CONNECT overwrites the one before, so another time is that of a newer one.
        let age = Duration::from_micros(self.micros(now).wrapping_sub(at).into());
        is_client && at != self.micros(own) && age <= MOMENTS
    }

    fn slot(&self, client: IdentityHash) -> &AtomicU64 {
        &self.slots[client.0 as usize % SLOTS]
    }

    fn micros(&self, at: Instant) -> u32 {
        at.saturating_duration_since(self.epoch).as_micros() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newer_connect_of_the_same_client_counts() {
        let arrivals = Arrivals::new();
        let at = |millis| arrivals.epoch + Duration::from_millis(millis);
        let (client, other) = (IdentityHash(7 << 32 | 1), IdentityHash(8 << 32 | 1));
        arrivals.note(client, at(10));
        assert!(!arrivals.is_newer_than(at(10), client, at(20)), "its own");
        arrivals.note(client, at(1000));
        assert!(arrivals.is_newer_than(at(10), client, at(1001)));
        assert!(arrivals.is_newer_than(at(10), client, at(6000)));
        assert!(!arrivals.is_newer_than(at(10), client, at(6001)), "long ago");
        assert!(!arrivals.is_newer_than(at(1000), client, at(1001)), "the newer one itself");
        arrivals.note(other, at(2000));
        assert!(!arrivals.is_newer_than(at(1000), client, at(2001)), "another client's");
    }

    #[test]
    fn times_wrap_around() {
        let arrivals = Arrivals::new();
        let (client, hours) = (IdentityHash(1), |n: u64| arrivals.epoch + Duration::from_hours(n));
        let later = hours(9) + Duration::from_secs(1);
        arrivals.note(client, hours(9));
        assert!(arrivals.is_newer_than(hours(1), client, later));
        assert!(!arrivals.is_newer_than(hours(9), client, later));
    }
}
