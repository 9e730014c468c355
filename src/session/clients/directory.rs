//! Which sessions a client has, for all workers: so that a device that has moved to another broker,
//! because its own failed, is not online at both.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    held::{Held, Newer},
    places::{Places, StandIn},
    tenant::TenantHash,
};
use crate::{balance::TenantFields, session::session_id::worker_of, upstream::WorkerSignal};

/// Parts of the directory with a lock of their own, so that workers seldom meet.
const PARTS: usize = 64;

/// The accepted sessions of clients with an ID: an entry of 32 bytes each, there until the session
/// ends, whatever has come after it.
pub struct ClientDirectory {
    /// Each held for a look at one client.
    parts: Box<[Mutex<Part>]>,
    /// What each worker has been told and has not looked at.
    takeovers: Box<[Mutex<Vec<Takeover>>]>,
    pub(in crate::session) places: Arc<Places>,
    signal: Arc<WorkerSignal>,
}

#[derive(Default)]
struct Part {
    /// Of each client ID of a pool.
    newest: HashMap<u64, Held>,
    /// The others of those with several, oldest first: of tenants that have one ID, and of devices
    /// whose broker has yet to end an older session.
    older: HashMap<u64, Vec<Held>>,
}

/// A session that ends as a newer one takes the place of it.
pub(in crate::session) struct Takeover {
    pub(in crate::session) session: u64,
    pub(in crate::session) slot: u32,
    pub(in crate::session) by: Successor,
}

/// Why an older session gives way to a newer one.
pub(in crate::session) enum Successor {
    /// That is on another broker, if it is of the same client.
    Elsewhere(Arc<Newer>),
    /// That came beyond a limit, with this one's place as its own. Held until this one has been told,
    /// so that its place is not given away twice.
    InItsPlace { _place: StandIn },
}

/// A client ID of a pool, hashed. That two share a hash costs a comparison, and no more.
#[derive(Clone, Copy)]
pub(in crate::session) struct ClientHash(u64);

impl ClientHash {
    /// `pool` is the pool's [`id`](crate::upstream::Pool::id).
    pub(in crate::session) fn new(pool: u64, client_id: &str) -> Self {
        Self(xxh3_64_with_seed(client_id.as_bytes(), pool))
    }
}

impl ClientDirectory {
    pub fn new(workers: usize, signal: Arc<WorkerSignal>) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            takeovers: (0..workers).map(|_| Mutex::default()).collect(),
            places: Arc::new(Places::new(workers, signal.clone())),
            signal,
        }
    }

    /// Notes an accepted session as the newest of its client ID. Gives those on other brokers that
    /// are older and may be the same client's, by these fields.
    pub(in crate::session) fn claim(
        &self,
        client: ClientHash,
        held: Held,
        fields: TenantFields,
    ) -> Vec<Held> {
        let part = &mut *self.part(client);
        let Some(before) = part.newest.insert(client.0, held) else { return Vec::new() };
        let older = part.older.entry(client.0).or_default();
        older.push(before);
        let is_elsewhere =
            |older: &&Held| older.broker != held.broker && older.tenant.may_be(held.tenant, fields);
        older.iter().filter(is_elsewhere).copied().collect()
    }

    /// Tells the workers of sessions that a newer one has taken the place of them.
    pub(in crate::session) fn take_over(&self, older: &[Held], newer: Newer) {
        let newer = Arc::new(newer);
        for &Held { session, slot, .. } in older {
            self.tell(Takeover { session, slot, by: Successor::Elsewhere(newer.clone()) });
        }
        self.signal.ring();
    }

    /// Tells the workers of sessions whose places a newer one has.
    pub(in crate::session) fn give_up(&self, places: Box<[StandIn]>) {
        for place in places {
            let Held { session, slot, .. } = place.older;
            self.tell(Takeover { session, slot, by: Successor::InItsPlace { _place: place } });
        }
        self.signal.ring();
    }

    fn tell(&self, takeover: Takeover) {
        if let Some(takeovers) = self.takeovers.get(worker_of(takeover.session)) {
            takeovers.lock().unwrap_or_else(PoisonError::into_inner).push(takeover);
        }
    }

    /// What `worker` has been told.
    pub(in crate::session) fn takeovers(&self, worker: u16) -> Vec<Takeover> {
        self.takeovers.get(usize::from(worker)).map_or_else(Vec::new, |takeovers| {
            std::mem::take(&mut *takeovers.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Forgets a session that has ended.
    pub(in crate::session) fn release(&self, client: ClientHash, session: u64) {
        let part = &mut *self.part(client);
        let older = part.older.get_mut(&client.0);
        if part.newest.get(&client.0).is_some_and(|newest| newest.session == session) {
            match older.and_then(Vec::pop) {
                Some(newest) => part.newest.insert(client.0, newest),
                None => part.newest.remove(&client.0),
            };
        } else if let Some(older) = older {
            older.retain(|held| held.session != session);
        }
        if part.older.get(&client.0).is_some_and(Vec::is_empty) {
            part.older.remove(&client.0);
        }
        shrink(&mut part.newest);
        shrink(&mut part.older);
    }

    /// The sessions of a client ID, of whichever tenant, the newest first; `None` if there are more
    /// than `most`.
    pub(in crate::session) fn find(&self, client: ClientHash, most: usize) -> Option<Vec<Held>> {
        let part = self.part(client);
        let older = part.older.get(&client.0).map_or(&[][..], Vec::as_slice);
        let newest = part.newest.get(&client.0);
        let all = newest.into_iter().chain(older.iter().rev());
        (older.len() < most).then(|| all.copied().collect())
    }

    /// The newest accepted sessions that may be this client's, by these fields; `most` of them.
    pub(in crate::session) fn may_be_of(
        &self,
        client: ClientHash,
        tenant: TenantHash,
        fields: TenantFields,
        most: usize,
    ) -> Vec<Held> {
        let part = self.part(client);
        let older = part.older.get(&client.0).map_or(&[][..], Vec::as_slice);
        let all = part.newest.get(&client.0).into_iter().chain(older.iter().rev());
        all.filter(|held| held.tenant.may_be(tenant, fields)).take(most).copied().collect()
    }

    fn part(&self, client: ClientHash) -> MutexGuard<'_, Part> {
        let part = &self.parts[client.0 as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After a storm a map is not to keep the room of all that were there.
fn shrink<T>(map: &mut HashMap<u64, T>) {
    if map.capacity() > 1024 && map.len() < map.capacity() / 8 {
        map.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{balance::ClientFields, session::session_id::SESSION_ID_BITS};

    const NOTHING: TenantFields = TenantFields { username: false, tls_cn: false, sni: false };
    const USERNAME: TenantFields = TenantFields { username: true, ..NOTHING };

    fn owners() -> (ClientDirectory, Arc<WorkerSignal>) {
        let signal = Arc::new(WorkerSignal::default());
        (ClientDirectory::new(2, signal.clone()), signal)
    }

    /// The odd ones are on worker 1.
    fn session(n: u64) -> u64 {
        (n % 2) << SESSION_ID_BITS | n
    }

    fn held(n: u64, broker: u64, username: &str) -> Held {
        let (username, client_id) = (Some(username), "me");
        let client = ClientFields { client_id, username, source_ip: None, tls_cn: None, sni: None };
        let tenant = TenantHash::new(&client);
        Held { session: session(n), broker, slot: n as u32 + 100, tenant }
    }

    fn numbers(held: &[Held]) -> Vec<u32> {
        held.iter().map(|held| held.slot - 100).collect()
    }

    /// What a claim by a session of that broker gives.
    fn claim(owners: &ClientDirectory, n: u64, broker: u64) -> Vec<u32> {
        let client = ClientHash::new(0, "me");
        numbers(&owners.claim(client, held(n, broker, ""), NOTHING))
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<(u64, Held)>(), 32);
    }

    #[test]
    fn every_older_session_on_another_broker_is_given_until_it_ends() {
        let (owners, _) = owners();
        let client = ClientHash::new(0, "me");
        assert_eq!(claim(&owners, 1, 7), [0_u32; 0]);
        assert_eq!(claim(&owners, 2, 7), [0_u32; 0], "of the same broker");
        let pool = owners.claim(ClientHash::new(1, "me"), held(3, 8, ""), NOTHING);
        assert!(pool.is_empty(), "of another pool");
        let id = owners.claim(ClientHash::new(0, "you"), held(4, 8, ""), NOTHING);
        assert!(id.is_empty(), "of another client");
        assert_eq!(claim(&owners, 5, 8), [1, 2], "the one that was first forgotten as well");
        assert_eq!(claim(&owners, 6, 7), [5], "and none of its own broker");
        owners.release(client, session(2));
        assert_eq!(claim(&owners, 7, 8), [1, 6]);
        owners.release(client, session(7));
        owners.release(client, session(1));
        owners.release(client, session(99));
        assert_eq!(numbers(&owners.find(client, 9).unwrap()), [6, 5]);
        owners.release(client, session(5));
        owners.release(client, session(6));
        assert_eq!(claim(&owners, 8, 9), [0_u32; 0]);
    }

    #[test]
    fn tenants_with_one_id_are_no_concern_of_each_other() {
        let (owners, _) = owners();
        let client = ClientHash::new(0, "me");
        let claim = |n, broker, username, fields| {
            numbers(&owners.claim(client, held(n, broker, username), fields))
        };
        assert_eq!(claim(1, 7, "anna", USERNAME), [0_u32; 0]);
        assert_eq!(claim(2, 8, "bert", USERNAME), [0_u32; 0]);
        assert_eq!(claim(3, 8, "anna", USERNAME), [1]);
        // All are found by the ID that they have in common, unless they are too many.
        assert_eq!(numbers(&owners.find(client, 3).unwrap()), [3, 2, 1]);
        assert!(owners.find(client, 2).is_none());
        // The pool's key is read at the claim, and not remembered.
        assert_eq!(claim(4, 9, "carl", NOTHING), [1, 2, 3]);
    }

    #[test]
    fn workers_are_told_of_their_own_sessions() {
        let (owners, signal) = owners();
        let older = [held(1, 7, ""), held(2, 7, ""), held(3, 7, "")];
        let newer = Newer { pool: 5, client_id: "me".into(), tenant: Box::default() };
        owners.take_over(&older, newer);
        assert_eq!(signal.rings(), 1);
        for (worker, wanted) in [(0, &[2][..]), (1, &[1, 3])] {
            let takeovers = owners.takeovers(worker);
            let told: Vec<_> = takeovers.iter().map(|one| u64::from(one.slot) - 100).collect();
            assert_eq!(told, wanted);
            assert!(takeovers.iter().zip(wanted).all(|(one, n)| one.session == session(*n)));
            let is_newer = |by: &Successor| matches!(by, Successor::Elsewhere(newer) if (newer.pool, &*newer.client_id) == (5, "me"));
            assert!(takeovers.iter().all(|one| is_newer(&one.by)));
            assert!(owners.takeovers(worker).is_empty());
        }
    }

    #[test]
    fn the_room_of_a_storm_is_given_back() {
        let (owners, _) = owners();
        let many: Vec<_> = (0..100_000).map(|n| (n, ClientHash::new(0, &n.to_string()))).collect();
        for &(n, client) in &many {
            owners.claim(client, held(n, 1, ""), NOTHING);
        }
        for &(n, client) in &many {
            owners.release(client, session(n));
        }
        let room: usize =
            owners.parts.iter().map(|part| part.lock().unwrap().newest.capacity()).sum();
        assert!(room <= PARTS * 1800, "room for {room}");
        assert!(owners.parts.iter().all(|part| part.lock().unwrap().older.is_empty()));
    }
}
