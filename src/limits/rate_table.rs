//! Rates by address, client ID or username, shared by all workers and bounded in memory.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus::IntCounter;

use super::lru::LruMap;

/// The number of maps that entries are distributed over, each with its own lock, so that workers
/// hardly ever contend.
const SHARDS: usize = 256;

/// The maximum number of entries per shard: a million over all shards, in some 70 MB. Beyond it, the
/// least recently counted entry is forgotten: its client connects too rarely to exceed a rate.
const MAX_SHARD_ENTRIES: usize = 4096;

/// A value for each recently counted address, client ID or username.
pub(super) struct RateTable<V> {
    /// Keyed at random, so that nobody can choose keys that share a shard or a hash. Two keys of a
    /// million share one with a probability of 3e-8; they then share their rate.
    hasher: RandomState,
    /// Each is locked for one lookup, or for one removal of idle entries.
    shards: Box<[Mutex<LruMap<V>>]>,
    evicted: IntCounter,
}

impl<V> RateTable<V> {
    /// `evicted` counts entries that were forgotten to make room.
    pub(super) fn new(evicted: IntCounter) -> Self {
        Self::with_room(SHARDS * MAX_SHARD_ENTRIES, evicted)
    }

    /// `room` is the maximum number of entries.
    fn with_room(room: usize, evicted: IntCounter) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(LruMap::new(room / SHARDS))).collect();
        Self { hasher: RandomState::new(), shards, evicted }
    }

    /// Calls `count` with the value of `key`, created if missing.
    pub(super) fn with<T>(
        &self,
        key: &(impl Hash + ?Sized),
        create: impl FnOnce() -> V,
        count: impl FnOnce(&mut V) -> T,
    ) -> T {
        let (hash, mut shard) = self.shard_of(key);
        let (value, evicted) = shard.use_entry(hash, create);
        let counted = count(value);
        drop(shard);
        if evicted {
            self.evicted.inc();
        }
        counted
    }

    /// Whether `key` has a value for which `is` is true.
    pub(super) fn is(&self, key: &(impl Hash + ?Sized), is: impl FnOnce(&V) -> bool) -> bool {
        let (hash, shard) = self.shard_of(key);
        shard.get(hash).is_some_and(is)
    }

    /// Forgets the values for which `keep` is false.
    pub(super) fn retain(&self, keep: impl Fn(&V) -> bool) {
        self.shards.iter().for_each(|shard| lock(shard).retain(&keep));
    }

    fn shard_of(&self, key: &(impl Hash + ?Sized)) -> (u64, MutexGuard<'_, LruMap<V>>) {
        let hash = self.hasher.hash_one(key);
        // The low bits select the bucket inside the map.
        (hash, lock(&self.shards[(hash >> 48) as usize % SHARDS]))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// The memory of all shards.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes()).sum()
    }

    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).allocated()).sum()
    }
}

fn lock<V>(shard: &Mutex<LruMap<V>>) -> MutexGuard<'_, LruMap<V>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::limits::token_bucket::TokenBucket;

    fn evicted() -> IntCounter {
        IntCounter::new("evicted", "evicted").unwrap()
    }

    /// Ten times as many keys as there is room for: the newest are kept, the oldest are forgotten and
    /// counted. The table has a fifth of its size, to be done in seconds.
    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        const ROOM: u64 = (SHARDS * MAX_SHARD_ENTRIES / 5) as u64;
        const KEYS: u64 = 10 * ROOM;
        let evicted = evicted();
        let table = RateTable::with_room(ROOM as usize, evicted.clone());
        (0..KEYS).for_each(|key| table.with(&key, || (), |()| ()));
        let room = table.len() as u64;
        assert!(room <= ROOM && room > ROOM - SHARDS as u64, "{room}");
        assert_eq!(evicted.get(), KEYS - room);
        let is_known = |key: u64| table.is(&key, |()| true);
        // Shards fill unevenly, by some percent.
        assert!((KEYS - ROOM * 4 / 5..KEYS).all(is_known));
        assert!(!(0..KEYS - ROOM * 6 / 5).any(is_known));
    }

    /// A full table has the size that is documented at [`MAX_SHARD_ENTRIES`].
    #[test]
    fn a_full_table_takes_some_70_megabytes() {
        let table = RateTable::new(evicted());
        let value = TokenBucket::full(Instant::now());
        let keys = (SHARDS * MAX_SHARD_ENTRIES * 2) as u64;
        (0..keys).for_each(|key| table.with(&key, || value, |_| ()));
        let megabytes = table.bytes() >> 20;
        assert!((60..=68).contains(&megabytes), "{megabytes} MiB");
    }
}
