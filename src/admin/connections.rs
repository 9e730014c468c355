//! The open connections, and which of them is closed when there are too many.

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

/// How long a new connection keeps its slot without a request: the first one arrives a round trip
/// after the connection, or when a busy client gets to it.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// How long an operator's request keeps its slot when every other connection is also waiting for a
/// response.
const RESPONSE_GRACE: Duration = Duration::from_secs(1);

/// The origin of a connection. Connections from one origin compete with each other first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ConnectionOrigin {
    /// A unix socket or a loopback address. Loopback addresses count as one origin, because a local
    /// process can use any address in 127.0.0.0/8.
    Local,
    /// An IPv4 address, or an IPv6 /64, the smallest network that a site gets.
    Network(IpAddr),
}

/// The connections of the admin listener, up to a limit.
///
/// A connection starts as a newcomer. Its first request that passes the guard (with the token, if
/// there is one) makes it an operator's.
pub(super) struct Connections {
    limit: usize,
    slots: Mutex<Slab<Occupied>>,
    /// Notified when a slot becomes free, or its connection can be closed.
    changed: Notify,
}

struct Occupied {
    origin: ConnectionOrigin,
    holder: Holder,
    evicted: Arc<Notify>,
}

#[derive(Clone, Copy)]
enum Holder {
    Newcomer {
        accepted: Instant,
        had_response: bool,
    },
    /// `since`: when its request began, or its last response ended.
    Operator {
        awaits_response: bool,
        since: Instant,
    },
}

/// The slot of one connection, freed on drop.
pub(super) struct ConnectionSlot {
    connections: Arc<Connections>,
    key: usize,
    evicted: Arc<Notify>,
}

/// An operator's request, until its response is written.
pub(super) struct OperatorRequest(Arc<ConnectionSlot>);

impl ConnectionOrigin {
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

impl Connections {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, slots: Mutex::default(), changed: Notify::new() })
    }

    /// Waits for a slot for a new connection. At the limit another connection is evicted, so that
    /// clients that hold connections open do not block others.
    pub(super) async fn admit(self: &Arc<Self>, origin: ConnectionOrigin) -> Arc<ConnectionSlot> {
        loop {
            match self.try_admit(origin) {
                Ok(slot) => return slot,
                Err(retry_at) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(retry_at) => {}
                },
            }
        }
    }

    /// `Err`: when to try again.
    fn try_admit(
        self: &Arc<Self>,
        origin: ConnectionOrigin,
    ) -> Result<Arc<ConnectionSlot>, Instant> {
        let mut slots = self.lock();
        let now = Instant::now();
        if slots.len() >= self.limit {
            // Newcomers are evicted first, so none of them takes an operator's slot.
            let key = if slots.iter().any(|(_, slot)| slot.is_newcomer()) {
                newcomer_to_evict(&slots, now)?
            } else {
                operator_to_evict(&slots, now)?
            };
            slots.remove(key).evicted.notify_one();
        }
        let evicted = Arc::new(Notify::new());
        let holder = Holder::Newcomer { accepted: now, had_response: false };
        let key = slots.insert(Occupied { origin, holder, evicted: evicted.clone() });
        Ok(Arc::new(ConnectionSlot { connections: self.clone(), key, evicted }))
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Occupied>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Occupied {
    fn is_newcomer(&self) -> bool {
        matches!(self.holder, Holder::Newcomer { .. })
    }
}

/// The oldest newcomer of the origin with the most newcomers, among those that have had a response
/// or time for a request. `Err`: when there will be one.
fn newcomer_to_evict(slots: &Slab<Occupied>, now: Instant) -> Result<usize, Instant> {
    let mut by_origin: HashMap<ConnectionOrigin, usize> = HashMap::new();
    let mut retry_at = now + FIRST_REQUEST_GRACE;
    let mut candidates = Vec::new();
    for (key, Occupied { origin, holder, .. }) in slots {
        let Holder::Newcomer { accepted, had_response } = *holder else { continue };
        *by_origin.entry(*origin).or_default() += 1;
        if had_response || accepted + FIRST_REQUEST_GRACE <= now {
            candidates.push((key, *origin, accepted));
        } else {
            retry_at = retry_at.min(accepted + FIRST_REQUEST_GRACE);
        }
    }
    let evicted = candidates
        .into_iter()
        .max_by_key(|(_, origin, accepted)| (by_origin[origin], Reverse(*accepted)));
    evicted.map(|(key, ..)| key).ok_or(retry_at)
}

/// The operator's connection that has been idle the longest; if all wait for responses, the one
/// that has waited the longest. `Err`: when there will be one.
fn operator_to_evict(slots: &Slab<Occupied>, now: Instant) -> Result<usize, Instant> {
    let operators = slots.iter().filter_map(|(key, slot)| match slot.holder {
        Holder::Operator { awaits_response, since } => Some((awaits_response, since, key)),
        Holder::Newcomer { .. } => None,
    });
    match operators.min() {
        Some((true, since, _)) if since + RESPONSE_GRACE > now => Err(since + RESPONSE_GRACE),
        Some((_, _, key)) => Ok(key),
        None => Err(now + RESPONSE_GRACE),
    }
}

impl ConnectionSlot {
    /// Records an operator's request. Until its response is written, idle connections are evicted
    /// before this one.
    pub(super) fn begin_request(self: &Arc<Self>) -> OperatorRequest {
        let since = Instant::now();
        self.set(|holder| *holder = Holder::Operator { awaits_response: true, since });
        OperatorRequest(self.clone())
    }

    /// Records a response to a request that needs no token.
    pub(super) fn note_response(&self) {
        self.set(|holder| {
            if let Holder::Newcomer { had_response, .. } = holder {
                *had_response = true;
            }
        });
    }

    /// Waits until the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn set(&self, set: impl FnOnce(&mut Holder)) {
        if let Some(slot) = self.occupied(&mut self.connections.lock()) {
            set(&mut slot.holder);
        }
        self.connections.changed.notify_one();
    }

    /// The slot's entry; `None` once the connection was evicted.
    fn occupied<'a>(&self, slots: &'a mut Slab<Occupied>) -> Option<&'a mut Occupied> {
        slots.get_mut(self.key).filter(|slot| Arc::ptr_eq(&slot.evicted, &self.evicted))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut slots = self.connections.lock();
        if self.occupied(&mut slots).is_some() {
            slots.remove(self.key);
            self.connections.changed.notify_one();
        }
    }
}

impl Drop for OperatorRequest {
    fn drop(&mut self) {
        let since = Instant::now();
        self.0.set(|holder| *holder = Holder::Operator { awaits_response: false, since });
    }
}

#[cfg(test)]
mod tests;
