//! A map of bounded size: its least recently used entry makes room for a new one.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Marks the end of a chain of slots.
const END: u32 = u32::MAX;

/// Entries by a 64-bit key that is already a random hash. Entries form a chain from the most to the
/// least recently used, so that every operation but [`Self::retain`] takes constant time.
pub(super) struct LruMap<V> {
    slots: Vec<Slot<V>>,
    by_key: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
    newest: u32,
    oldest: u32,
    capacity: usize,
}

struct Slot<V> {
    key: u64,
    value: V,
    newer: u32,
    older: u32,
}

impl<V> LruMap<V> {
    /// A map of at most `capacity` entries, which is at least 1 and less than 2^32.
    pub(super) fn new(capacity: usize) -> Self {
        let (slots, by_key) = (Vec::new(), HashMap::default());
        Self { slots, by_key, newest: END, oldest: END, capacity: capacity.max(1) }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.slots.capacity()
    }

    /// The bytes of its slots and of the map to them. A map of the standard library has a power of
    /// two of buckets, of which at most 7/8 are used, with a byte more for each.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let buckets = (self.by_key.capacity() * 8 / 7).next_power_of_two();
        self.slots.capacity() * size_of::<Slot<V>>() + buckets * (size_of::<(u64, u32)>() + 1)
    }

    pub(super) fn get(&self, key: u64) -> Option<&V> {
        self.by_key.get(&key).map(|slot| &self.slots[*slot as usize].value)
    }

    /// The entry of `key`, which is now the most recently used one; created if missing. Also
    /// whether another entry was removed for it.
    pub(super) fn use_entry(&mut self, key: u64, create: impl FnOnce() -> V) -> (&mut V, bool) {
        let known = self.by_key.get(&key).copied();
        let is_full = known.is_none() && self.slots.len() >= self.capacity;
        let slot = match known {
            Some(slot) => {
                self.unlink(slot);
                slot
            }
            None if is_full => {
                // Reuses the slot of the least recently used entry.
                let slot = self.oldest;
                self.unlink(slot);
                let oldest = &mut self.slots[slot as usize];
                self.by_key.remove(&oldest.key);
                (oldest.key, oldest.value) = (key, create());
                self.by_key.insert(key, slot);
                slot
            }
            None => {
                let slot = self.slots.len() as u32;
                self.slots.push(Slot { key, value: create(), newer: END, older: END });
                self.by_key.insert(key, slot);
                slot
            }
        };
        self.link_newest(slot);
        (&mut self.slots[slot as usize].value, is_full)
    }

    /// Removes the entries for which `keep` is false, and returns memory if few are left.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        let mut slot = 0;
        while let Some(entry) = self.slots.get(slot) {
            if keep(&entry.value) {
                slot += 1;
            } else {
                self.remove(slot as u32);
            }
        }
        if self.slots.len() <= self.slots.capacity() / 8 {
            self.slots.shrink_to_fit();
            self.by_key.shrink_to_fit();
        }
    }

    /// Removes an entry; the last slot moves to its place.
    fn remove(&mut self, slot: u32) {
        self.unlink(slot);
        let removed = self.slots.swap_remove(slot as usize);
        self.by_key.remove(&removed.key);
        let Some(moved) = self.slots.get(slot as usize) else { return };
        let (key, newer, older) = (moved.key, moved.newer, moved.older);
        self.by_key.insert(key, slot);
        self.set_older_of(newer, slot);
        self.set_newer_of(older, slot);
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { newer, older, .. } = self.slots[slot as usize];
        self.set_older_of(newer, older);
        self.set_newer_of(older, newer);
    }

    fn link_newest(&mut self, slot: u32) {
        let before = self.newest;
        let entry = &mut self.slots[slot as usize];
        (entry.newer, entry.older) = (END, before);
        self.newest = slot;
        self.set_newer_of(before, slot);
    }

    /// `END` is in front of the newest entry.
    fn set_older_of(&mut self, slot: u32, older: u32) {
        match self.slots.get_mut(slot as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    /// `END` is behind the oldest entry.
    fn set_newer_of(&mut self, slot: u32, newer: u32) {
        match self.slots.get_mut(slot as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }
}

/// Takes a `u64` as its own hash.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys are u64, so this is not called.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys from the most to the least recently used, checked in both directions.
    fn keys<V>(map: &LruMap<V>) -> Vec<u64> {
        let chain = |from: u32, next: fn(&Slot<V>) -> u32| -> Vec<u64> {
            let first = map.slots.get(from as usize);
            std::iter::successors(first, |slot| map.slots.get(next(slot) as usize))
                .map(|slot| slot.key)
                .collect()
        };
        let mut from_oldest = chain(map.oldest, |slot| slot.newer);
        from_oldest.reverse();
        let from_newest = chain(map.newest, |slot| slot.older);
        assert_eq!(from_newest, from_oldest);
        assert_eq!(map.by_key.len(), from_newest.len());
        from_newest
    }

    /// Compared with a list, over random operations: the oldest entries go first.
    #[test]
    fn the_least_recently_used_goes_first() {
        let mut random = fastrand::Rng::with_seed(7);
        for capacity in [1, 2, 3, 10, 50] {
            let mut map = LruMap::new(capacity);
            let mut expected: Vec<u64> = Vec::new();
            for step in 0..5_000 {
                if random.u8(..) == 0 {
                    let divisor = random.u64(2..5);
                    map.retain(|value| value % divisor != 0);
                    expected.retain(|key| key % divisor != 0);
                } else {
                    let key = random.u64(..capacity as u64 * 2);
                    let is_known = expected.contains(&key);
                    expected.retain(|other| *other != key);
                    let must_evict = !is_known && expected.len() == capacity;
                    expected.insert(0, key);
                    expected.truncate(capacity);
                    let (value, evicted) = map.use_entry(key, || key);
                    assert_eq!((*value, evicted), (key, must_evict));
                }
                assert_eq!(keys(&map), expected, "step {step} of capacity {capacity}");
            }
        }
    }

    #[test]
    fn memory_is_returned() {
        let mut map = LruMap::new(1000);
        for key in 0..5000 {
            map.use_entry(key, || key);
        }
        assert_eq!((map.len(), map.get(3999), map.get(4000)), (1000, None, Some(&4000)));
        map.retain(|_| false);
        assert_eq!((map.len(), map.allocated(), map.get(4000)), (0, 0, None));
    }
}
