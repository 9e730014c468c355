//! Client IDs that several devices use: each connection ends the session of another device, which
//! connects again.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::tenant::IdentityHash;

/// A device that reconnects while its older session is still open displaces one session. So
/// sessions of a client count as displaced by another device from the third within a minute on.
const DISPLACED_WITHIN: Duration = Duration::from_mins(1);

/// Clients whose latest displacements are kept: in sets by their hash, so that a look-up compares
/// few of them. The least recent of a set makes room for another.
const RECENT_SETS: usize = 1024;
const CLIENTS_PER_SET: usize = 4;

/// Client IDs in the list; the least recent one makes room for another.
const MAX_LISTED: usize = 256;

/// Addresses listed of a client ID.
const MAX_ADDRESSES: usize = 8;

/// Bytes listed of a client ID and of a username, which may have 64 KiB each.
const MAX_TEXT_BYTES: usize = 1024;

/// The client IDs that several devices use, of all workers. Its memory is bounded.
pub(crate) struct Duplicates(Mutex<State>);

struct State {
    recent: Box<[Option<Recent>]>,
    listed: HashMap<u64, DuplicateClient>,
    evicted: u64,
}

/// The latest displacements of one client's sessions.
#[derive(Clone, Copy)]
struct Recent {
    client: IdentityHash,
    before_last: Option<Instant>,
    last: Instant,
}

/// A client ID that several devices use.
#[derive(Clone, Debug)]
pub(crate) struct DuplicateClient {
    /// The pool's [`Pool::id`](crate::upstream::Pool::id) and name.
    pub(crate) pool_id: u64,
    pub(crate) pool: Arc<str>,
    /// The first 1,024 bytes.
    pub(crate) client_id: Box<str>,
    /// The latest session's; the first 1,024 bytes.
    pub(crate) username: Option<Box<str>>,
    /// The sessions that ended with cause `duplicate`.
    pub(crate) count: u64,
    /// When the first and the last of them ended.
    pub(crate) first: SystemTime,
    pub(crate) last: SystemTime,
    /// The addresses of these sessions' clients, the latest last; at most 8.
    pub(crate) addresses: Vec<IpAddr>,
}

/// A session that was displaced.
pub(crate) struct DisplacedSession<'a> {
    pub(crate) client: IdentityHash,
    pub(crate) pool_id: u64,
    pub(crate) pool: &'a Arc<str>,
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) address: Option<IpAddr>,
}

impl Duplicates {
    pub(crate) fn new() -> Self {
        let recent = vec![None; RECENT_SETS * CLIENTS_PER_SET].into();
        Self(Mutex::new(State { recent, listed: HashMap::new(), evicted: 0 }))
    }

    /// Records that a newer connection of its client ended this session. Returns whether another
    /// device is the cause.
    pub(crate) fn note(
        &self,
        session: &DisplacedSession<'_>,
        now: Instant,
        wall: SystemTime,
    ) -> bool {
        let state = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_duplicate = state.is_repeated(session.client, now);
        if is_duplicate {
            state.list(session, wall);
        }
        is_duplicate
    }

    /// The client IDs, those with the most displaced sessions first, and how many others were
    /// removed to make room.
    pub(crate) fn list(&self) -> (Vec<DuplicateClient>, u64) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut listed, evicted): (Vec<_>, _) =
            (state.listed.values().cloned().collect(), state.evicted);
        drop(state);
        listed.sort_unstable_by(|a, b| {
            b.count.cmp(&a.count).then_with(|| a.client_id.cmp(&b.client_id))
        });
        (listed, evicted)
    }
}

impl State {
    /// Whether this is at least the client's third displaced session within a minute.
    fn is_repeated(&mut self, client: IdentityHash, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) <= DISPLACED_WITHIN;
        let start = client.0 as usize % RECENT_SETS * CLIENTS_PER_SET;
        let set = &mut self.recent[start..start + CLIENTS_PER_SET];
        let known = set.iter().flatten().find(|recent| recent.client == client).copied();
        let replaced = set.iter_mut().min_by_key(|recent| match recent {
            Some(recent) if recent.client == client => None,
            recent => Some(recent.map(|recent| recent.last)),
        });
        if let Some(replaced) = replaced {
            let before_last = known.map(|known| known.last);
            *replaced = Some(Recent { client, before_last, last: now });
        }
        known.and_then(|known| known.before_last).is_some_and(is_recent)
    }

    fn list(&mut self, session: &DisplacedSession<'_>, wall: SystemTime) {
        let key = session.client.0;
        if self.listed.len() >= MAX_LISTED && !self.listed.contains_key(&key) {
            let oldest = self.listed.iter().min_by_key(|(_, client)| client.last);
            if let Some(oldest) = oldest.map(|(&key, _)| key) {
                self.listed.remove(&oldest);
                self.evicted += 1;
            }
        }
        let listed = self.listed.entry(key).or_insert_with(|| DuplicateClient {
            pool_id: session.pool_id,
            pool: session.pool.clone(),
            client_id: truncated(session.client_id),
            username: None,
            count: 0,
            first: wall,
            last: wall,
            addresses: Vec::new(),
        });
        listed.count += 1;
        listed.last = wall;
        listed.username = session.username.map(truncated);
        if let Some(address) = session.address {
            listed.addresses.retain(|known| *known != address);
            listed.addresses.push(address);
            if listed.addresses.len() > MAX_ADDRESSES {
                listed.addresses.remove(0);
            }
        }
    }
}

fn truncated(text: &str) -> Box<str> {
    text.get(..text.floor_char_boundary(MAX_TEXT_BYTES)).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    struct Rig {
        duplicates: Duplicates,
        pool: Arc<str>,
        began: (Instant, SystemTime),
    }

    impl Rig {
        fn new() -> Self {
            let began = (Instant::now(), SystemTime::now());
            Self { duplicates: Duplicates::new(), pool: "brokers".into(), began }
        }

        fn displaced(&self, id: u64, second: u64) -> bool {
            let session = DisplacedSession {
                client: IdentityHash(id),
                pool_id: 1,
                pool: &self.pool,
                client_id: &format!("id-{id}"),
                username: None,
                address: Some(Ipv4Addr::from(second as u32 % 20).into()),
            };
            let after = Duration::from_secs(second);
            self.duplicates.note(&session, self.began.0 + after, self.began.1 + after)
        }
    }

    #[test]
    fn the_third_within_a_minute_and_later_ones() {
        let rig = Rig::new();
        let outcomes = [0, 30, 60, 61, 120, 182].map(|second| rig.displaced(7, second));
        assert_eq!(outcomes, [false, false, true, true, true, false]);
        let (listed, evicted) = rig.duplicates.list();
        assert_eq!((listed.len(), evicted), (1, 0));
        let DuplicateClient { client_id, count, first, last, addresses, .. } = &listed[0];
        assert_eq!((&**client_id, *count), ("id-7", 3));
        assert_eq!(*first, rig.began.1 + Duration::from_mins(1));
        assert_eq!(*last, rig.began.1 + Duration::from_mins(2));
        assert_eq!(*addresses, [1, 0].map(|n| IpAddr::from(Ipv4Addr::from(n))));
    }

    #[test]
    fn everyday_reconnects_are_not_listed() {
        let rig = Rig::new();
        for round in 0..10 {
            for id in 0..10_000 {
                assert!(!rig.displaced(id, round * 31));
            }
        }
        assert!(rig.duplicates.list().0.is_empty());
    }

    #[test]
    fn clients_do_not_hide_each_other() {
        let rig = Rig::new();
        for second in 0..10 {
            for nth in 0..CLIENTS_PER_SET {
                let same_set = (nth * RECENT_SETS) as u64;
                assert_eq!(rig.displaced(same_set, second), second >= 2, "{nth}");
            }
        }
        assert!(rig.duplicates.list().0.iter().all(|client| client.count == 8));
    }

    #[test]
    fn the_least_recent_makes_room() {
        let rig = Rig::new();
        for id in 0..MAX_LISTED as u64 + 3 {
            for _ in 0..=2 + id % 2 {
                rig.displaced(id, id);
            }
        }
        let (listed, evicted) = rig.duplicates.list();
        assert_eq!((listed.len(), evicted), (MAX_LISTED, 3));
        assert!(listed.iter().all(|client| client.first > rig.began.1 + Duration::from_secs(2)));
        assert!(listed.is_sorted_by_key(|client| std::cmp::Reverse(client.count)));
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(truncated(&"é".repeat(600)), "é".repeat(512).into());
        assert_eq!(truncated("id"), "id".into());
    }
}
