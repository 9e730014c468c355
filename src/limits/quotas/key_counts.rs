//! The number of connections of each key of a quota.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The number of maps that the keys are distributed over, each with its own lock, so that workers
/// hardly ever contend.
const SHARDS: usize = 64;

/// The connections of each key that has any. All workers share them.
pub(super) struct KeyCounts {
    /// Keyed at random, so that nobody can choose keys that share a shard.
    hasher: RandomState,
    /// Each is locked for one look-up, or while its fullest keys are collected.
    shards: Box<[Mutex<KeyMap>]>,
}

type KeyMap = HashMap<Arc<str>, u32>;

/// One connection in the count of a key, until it is dropped.
pub(super) struct KeyLease {
    counts: Arc<KeyCounts>,
    key: Arc<str>,
}

impl KeyCounts {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards }
    }

    /// Counts one more connection of a key; `None` if the key has `max` already.
    pub(super) fn enter(self: &Arc<Self>, key: &str, max: u32) -> Option<KeyLease> {
        let mut shard = self.shard(key);
        let key = match shard.get_key_value(key) {
            Some((_, count)) if *count >= max => return None,
            Some((known, _)) => known.clone(),
            None if max == 0 => return None,
            None => Arc::from(key),
        };
        *shard.entry(key.clone()).or_default() += 1;
        Some(KeyLease { counts: self.clone(), key })
    }

    /// The number of keys, and those with the most connections, at most `most`, the fullest first.
    pub(super) fn usage(&self, most: usize) -> (usize, Vec<(Arc<str>, u32)>) {
        let (mut keys, mut fullest) = (0, Vec::new());
        for shard in &self.shards {
            let shard = lock(shard);
            keys += shard.len();
            fullest.extend(shard.iter().map(|(key, count)| (key.clone(), *count)));
            drop(shard);
            fullest.sort_unstable_by(|(a, fuller_a), (b, fuller_b)| {
                fuller_b.cmp(fuller_a).then_with(|| a.cmp(b))
            });
            fullest.truncate(most);
        }
        (keys, fullest)
    }

    fn leave(&self, key: &str) {
        let mut shard = self.shard(key);
        if let Some(count) = shard.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                shard.remove(key);
            }
        }
        if shard.capacity() > 1024 && shard.len() < shard.capacity() / 8 {
            shard.shrink_to_fit();
        }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, KeyMap> {
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARDS])
    }
}

impl KeyLease {
    /// Whether it counts for this key of these counts.
    pub(super) fn is_of(&self, counts: &Arc<KeyCounts>, key: &str) -> bool {
        Arc::ptr_eq(&self.counts, counts) && *self.key == *key
    }
}

impl Drop for KeyLease {
    fn drop(&mut self) {
        self.counts.leave(&self.key);
    }
}

fn lock(shard: &Mutex<HashMap<Arc<str>, u32>>) -> MutexGuard<'_, KeyMap> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
