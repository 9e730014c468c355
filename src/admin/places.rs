//! Who is connected, and who has to go when too many are.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use slab::Slab;
use tokio::sync::Notify;

/// The connections of the admin listener, at most so many at a time.
pub(super) struct Places {
    most: usize,
    taken: Mutex<Slab<Taken>>,
}

struct Taken {
    /// When it was last asked something, or began.
    since: Instant,
    leave: Arc<Notify>,
}

/// One connection's place, given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    key: usize,
    leave: Arc<Notify>,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// A place for one more. Where there is none left, whoever has asked nothing for the longest
    /// has to leave: who holds connections without using them keeps nobody else out.
    pub(super) fn take(self: &Arc<Self>) -> Place {
        let leave = Arc::new(Notify::new());
        let mut taken = self.taken();
        if taken.len() >= self.most
            && let Some(oldest) =
                taken.iter().min_by_key(|(_, taken)| taken.since).map(|(key, _)| key)
        {
            taken.remove(oldest).leave.notify_one();
        }
        let key = taken.insert(Taken { since: Instant::now(), leave: leave.clone() });
        Place { places: self.clone(), key, leave }
    }

    fn taken(&self) -> MutexGuard<'_, Slab<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Notes that it is asked something.
    pub(super) fn is_used(&self) {
        let mut taken = self.places.taken();
        if let Some(place) = self.own(&mut taken) {
            place.since = Instant::now();
        }
    }

    /// Waits until the place is wanted by another.
    pub(super) async fn wanted(&self) {
        self.leave.notified().await;
    }

    /// Its own, unless it has been given to another.
    fn own<'a>(&self, taken: &'a mut Slab<Taken>) -> Option<&'a mut Taken> {
        taken.get_mut(self.key).filter(|place| Arc::ptr_eq(&place.leave, &self.leave))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if self.own(&mut taken).is_some() {
            taken.remove(self.key);
        }
    }
}
