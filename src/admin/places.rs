//! Who is connected, and who has to go when too many are.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use slab::Slab;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// Who has asked nothing for so long may have to make room: whoever wants something has sent it
/// within that time, and been answered.
const SILENCE: Duration = Duration::from_secs(1);

/// The connections of the admin listener, at most so many at a time.
pub(super) struct Places {
    most: usize,
    taken: Mutex<Slab<Taken>>,
    /// Told of a place that has become free.
    freed: Notify,
}

struct Taken {
    /// Since when it is waited for: since it came, or was last answered. `None` while it waits itself.
    since: Option<Instant>,
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
        Arc::new(Self { most, taken: Mutex::default(), freed: Notify::new() })
    }

    /// A place for one more. Where there is none, whoever has asked nothing for the longest has to
    /// leave: who holds connections without using them keeps nobody else out for long.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            match self.try_take() {
                Ok(place) => return place,
                Err(silent_at) => tokio::select! {
                    () = self.freed.notified() => {}
                    () = sleep_until(silent_at) => {}
                },
            }
        }
    }

    /// `Err`: when somebody will have been silent for long enough.
    fn try_take(self: &Arc<Self>) -> Result<Place, Instant> {
        let mut taken = self.taken();
        let now = Instant::now();
        if taken.len() >= self.most {
            let silent = taken.iter().filter_map(|(key, place)| Some((place.since?, key)));
            let (since, longest) = silent.min().ok_or(now + SILENCE)?;
            if since + SILENCE > now {
                return Err(since + SILENCE);
            }
            taken.remove(longest).leave.notify_one();
        }
        let leave = Arc::new(Notify::new());
        let key = taken.insert(Taken { since: Some(now), leave: leave.clone() });
        Ok(Place { places: self.clone(), key, leave })
    }

    fn taken(&self) -> MutexGuard<'_, Slab<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Notes that something was asked, or answered.
    pub(super) fn note(&self, asked: bool) {
        let mut taken = self.places.taken();
        if let Some(place) = self.own(&mut taken) {
            place.since = (!asked).then(Instant::now);
        }
    }

    /// Waits until the place is another's.
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
            self.places.freed.notify_one();
        }
    }
}
