//! Who is connected, and who has to go when too many are.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use slab::Slab;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// How long a newcomer keeps its place for its first request: that comes a round trip later, or when
/// a busy client gets to it.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// How long an operator's answer may take before its place can be another's, where all wait for theirs.
const ANSWER: Duration = Duration::from_secs(1);

/// Where a connection comes from: all of them share what one of them may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A unix socket, or a loopback address, of which a process may choose any.
    Local,
    /// An IPv4 address, or an IPv6 network of 64 bits, which is what one site has at least.
    Network(IpAddr),
}

/// The connections of the admin listener, at most so many at a time.
///
/// A connection comes as a newcomer. A request that only an operator can make, which is one with the
/// token where there is one, makes it an operator's.
pub(super) struct Places {
    most: usize,
    taken: Mutex<Slab<Taken>>,
    /// Told when a place has become free, or easier to take.
    changed: Notify,
}

struct Taken {
    source: Source,
    holder: Holder,
    leave: Arc<Notify>,
}

#[derive(Clone, Copy)]
enum Holder {
    Newcomer {
        came: Instant,
        was_answered: bool,
    },
    /// `since`: when it began to wait for an answer, or had the last one.
    Operator {
        waits: bool,
        since: Instant,
    },
}

/// One connection's place, given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    key: usize,
    leave: Arc<Notify>,
}

/// An operator's request, until its answer is on its way.
pub(super) struct Request(Arc<Place>);

impl Source {
    /// `None` is a unix socket.
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Local,
            Some(address) if address.is_loopback() => Self::Local,
            Some(IpAddr::V6(address)) => {
                let network = address.to_bits() >> 64 << 64;
                Self::Network(IpAddr::V6(network.into()))
            }
            Some(address) => Self::Network(address),
        }
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default(), changed: Notify::new() })
    }

    /// A place for a newcomer. If all are taken, another connection has to leave, so that nobody is
    /// kept out by those who hold connections.
    pub(super) async fn take(self: &Arc<Self>, source: Source) -> Arc<Place> {
        loop {
            match self.try_take(source) {
                Ok(place) => return place,
                Err(later) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(later) => {}
                },
            }
        }
    }

    /// `Err`: when to try again.
    fn try_take(self: &Arc<Self>, source: Source) -> Result<Arc<Place>, Instant> {
        let mut taken = self.taken();
        let now = Instant::now();
        if taken.len() >= self.most {
            // Newcomers make room for each other: none takes an operator's place from it.
            let leaves = if taken.iter().any(|(_, place)| place.is_newcomer()) {
                newcomer_to_leave(&taken, now)?
            } else {
                operator_to_leave(&taken, now)?
            };
            taken.remove(leaves).leave.notify_one();
        }
        let leave = Arc::new(Notify::new());
        let holder = Holder::Newcomer { came: now, was_answered: false };
        let key = taken.insert(Taken { source, holder, leave: leave.clone() });
        Ok(Arc::new(Place { places: self.clone(), key, leave }))
    }

    fn taken(&self) -> MutexGuard<'_, Slab<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn is_newcomer(&self) -> bool {
        matches!(self.holder, Holder::Newcomer { .. })
    }
}

/// The oldest newcomer of the source that has the most, of those that have had time to ask something.
/// `Err`: when there is one.
fn newcomer_to_leave(taken: &Slab<Taken>, now: Instant) -> Result<usize, Instant> {
    let mut held: HashMap<Source, usize> = HashMap::new();
    let mut later = now + FIRST_REQUEST;
    let mut may_leave = Vec::new();
    for (key, Taken { source, holder, .. }) in taken {
        let Holder::Newcomer { came, was_answered } = *holder else { continue };
        *held.entry(*source).or_default() += 1;
        if was_answered || came + FIRST_REQUEST <= now {
            may_leave.push((key, *source, came));
        } else {
            later = later.min(came + FIRST_REQUEST);
        }
    }
    let leaves =
        may_leave.into_iter().max_by_key(|(_, source, came)| (held[source], Reverse(*came)));
    leaves.map(|(key, ..)| key).ok_or(later)
}

/// The operator's connection that has asked nothing for the longest; where all wait for answers, the
/// one that has waited for the longest. `Err`: when there is one.
fn operator_to_leave(taken: &Slab<Taken>, now: Instant) -> Result<usize, Instant> {
    let all = taken.iter().filter_map(|(key, place)| match place.holder {
        Holder::Operator { waits, since } => Some((waits, since, key)),
        Holder::Newcomer { .. } => None,
    });
    match all.min() {
        Some((true, since, _)) if since + ANSWER > now => Err(since + ANSWER),
        Some((_, _, key)) => Ok(key),
        None => Err(now + ANSWER),
    }
}

impl Place {
    /// Notes that an operator asks something. Places whose operators have their answers are given to
    /// others before this one.
    pub(super) fn operator_asks(self: &Arc<Self>) -> Request {
        self.note(|holder| *holder = Holder::Operator { waits: true, since: Instant::now() });
        Request(self.clone())
    }

    /// Notes an answer to what anybody may ask.
    pub(super) fn answered(&self) {
        self.note(|holder| {
            if let Holder::Newcomer { was_answered, .. } = holder {
                *was_answered = true;
            }
        });
    }

    /// Waits until the place is another's.
    pub(super) async fn wanted(&self) {
        self.leave.notified().await;
    }

    fn note(&self, note: impl FnOnce(&mut Holder)) {
        if let Some(place) = self.own(&mut self.places.taken()) {
            note(&mut place.holder);
        }
        self.places.changed.notify_one();
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
            self.places.changed.notify_one();
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.note(|holder| *holder = Holder::Operator { waits: false, since: Instant::now() });
    }
}

#[cfg(test)]
mod tests;
