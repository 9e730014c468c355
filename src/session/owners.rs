//! Which broker has a client's session, for all workers: so that a device that has moved to another
//! broker, because its own failed, is not online at both.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::upstream::Bell;

/// Parts of the map with a lock of their own, so that workers seldom meet.
const PARTS: usize = 64;

/// The sessions of clients with an ID: an entry of 32 bytes each, gone with the session.
pub struct Owners {
    parts: Box<[Mutex<HashMap<u64, Owner>>]>,
    /// What each worker has been told and has not looked at. A session is told of once at most.
    letters: Box<[Mutex<Vec<Letter>>]>,
    bell: Arc<Bell>,
}

/// Where a client's newest session is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) session: u64,
    /// The broker's [`Broker::id`](crate::upstream::Broker::id).
    pub(super) broker: u64,
    pub(super) worker: u16,
    /// In the worker's slab.
    pub(super) slot: u32,
}

/// A session whose client has a newer one on another broker.
pub(super) struct Letter {
    pub(super) session: u64,
    pub(super) slot: u32,
    /// To be compared, as the map knows only a hash of it.
    pub(super) client_id: Box<str>,
}

/// A client of a pool, hashed. That two share a hash costs the older one its guard, and no more.
#[derive(Clone, Copy)]
pub(super) struct ClientHash(u64);

impl ClientHash {
    /// `pool` is the pool's [`id`](crate::upstream::Pool::id).
    pub(super) fn new(pool: u64, client_id: &str) -> Self {
        Self(xxh3_64_with_seed(client_id.as_bytes(), pool))
    }
}

impl Owners {
    pub fn new(workers: usize, bell: Arc<Bell>) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            letters: (0..workers).map(|_| Mutex::default()).collect(),
            bell,
        }
    }

    /// Notes a session that has been accepted; an older one on another broker is to end.
    pub(super) fn claim(&self, client: ClientHash, owner: Owner, client_id: &str) {
        let older = self.part(client).insert(client.0, owner);
        let Some(older) = older.filter(|older| older.broker != owner.broker) else { return };
        if let Some(letters) = self.letters.get(usize::from(older.worker)) {
            let (session, slot) = (older.session, older.slot);
            let letter = Letter { session, slot, client_id: client_id.into() };
            letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
            self.bell.ring();
        }
    }

    /// Forgets a session that has ended, unless a newer one has taken its place.
    pub(super) fn release(&self, client: ClientHash, session: u64) {
        let mut part = self.part(client);
        if let Entry::Occupied(entry) = part.entry(client.0)
            && entry.get().session == session
        {
            entry.remove();
            // After a storm the map is not to keep the room of all that were there.
            if part.capacity() > 1024 && part.len() < part.capacity() / 8 {
                part.shrink_to_fit();
            }
        }
    }

    /// Where the newest session of a client is.
    pub(super) fn find(&self, client: ClientHash) -> Option<Owner> {
        self.part(client).get(&client.0).copied()
    }

    /// What `worker` has been told.
    pub(super) fn letters(&self, worker: u16) -> Vec<Letter> {
        self.letters.get(usize::from(worker)).map_or_else(Vec::new, |letters| {
            std::mem::take(&mut *letters.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    fn part(&self, client: ClientHash) -> MutexGuard<'_, HashMap<u64, Owner>> {
        let part = &self.parts[client.0 as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(session: u64, broker: u64) -> Owner {
        Owner { session, broker, worker: (session % 2) as u16, slot: session as u32 + 100 }
    }

    #[test]
    fn an_older_session_on_another_broker_is_told_of_once() {
        let bell = Arc::new(Bell::default());
        let owners = Owners::new(2, bell.clone());
        let client = ClientHash::new(0, "me");
        owners.claim(client, owner(1, 7), "me");
        owners.claim(client, owner(2, 7), "me");
        owners.claim(ClientHash::new(1, "me"), owner(3, 8), "me");
        assert_eq!(bell.rings(), 0, "the same broker, or another pool");
        owners.claim(client, owner(4, 8), "me");
        assert_eq!(bell.rings(), 1);
        assert!(owners.letters(1).is_empty());
        let letters = owners.letters(0);
        assert_eq!(letters.len(), 1);
        assert_eq!((letters[0].session, letters[0].slot, &*letters[0].client_id), (2, 102, "me"));
        assert!(owners.letters(0).is_empty());
    }

    #[test]
    fn what_has_ended_is_forgotten_and_what_is_newer_is_not() {
        let owners = Owners::new(2, Arc::default());
        let client = ClientHash::new(0, "me");
        owners.claim(client, owner(1, 7), "me");
        owners.claim(client, owner(2, 8), "me");
        assert_eq!(owners.letters(1).len(), 1);
        owners.release(client, 1);
        owners.claim(client, owner(3, 7), "me");
        assert_eq!(owners.letters(0).len(), 1, "2 was still known");
        owners.release(client, 3);
        owners.claim(client, owner(4, 9), "me");
        assert!(owners.letters(1).is_empty());
        let many: Vec<_> = (0..100_000).map(|n| (n, ClientHash::new(0, &n.to_string()))).collect();
        for &(n, client) in &many {
            owners.claim(client, owner(n, 1), "");
        }
        for &(n, client) in &many {
            owners.release(client, n);
        }
        let room: usize = owners.parts.iter().map(|part| part.lock().unwrap().capacity()).sum();
        assert!(room <= PARTS * 1800, "room for {room}");
    }
}
