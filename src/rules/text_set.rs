//! A set of texts that is made once and then only read.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Texts, in one piece of memory with an index: some 20 bytes an entry beyond the text itself, where
/// a `HashSet<String>` takes 60 to 100.
#[derive(Clone)]
pub struct TextSet {
    text: String,
    index: HashTable<Span>,
    /// Chosen at random, so that nobody can write a list whose entries collide.
    seed: u64,
}

/// Where an entry is in the text.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

impl TextSet {
    /// Adds an entry; false if the set cannot take it, because it would be longer than 4 GiB.
    pub fn insert(&mut self, entry: &str) -> bool {
        let (Ok(start), Ok(len)) = (u32::try_from(self.text.len()), u32::try_from(entry.len()))
        else {
            return false;
        };
        if start.checked_add(len).is_none() {
            return false;
        }
        if !self.contains(entry) {
            let Self { text, index, seed } = self;
            text.push_str(entry);
            let rehash = |span: &Span| hash(span.of(text), *seed);
            index.insert_unique(hash(entry, *seed), Span { start, len }, rehash);
        }
        true
    }

    pub fn contains(&self, entry: &str) -> bool {
        let is_it = |span: &Span| span.of(&self.text) == entry;
        !self.index.is_empty() && self.index.find(hash(entry, self.seed), is_it).is_some()
    }

    /// The entries, in any order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.index.iter().map(|span| span.of(&self.text))
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The memory of the set beyond the size of this value, in bytes: the text and the index.
    pub fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.index.allocation_size()
    }

    /// Frees what was reserved for more entries.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        let Self { text, index, seed } = self;
        index.shrink_to_fit(|span| hash(span.of(text), *seed));
    }
}

impl Span {
    fn of(self, text: &str) -> &str {
        let start = self.start as usize;
        text.get(start..start + self.len as usize).unwrap_or_default()
    }
}

fn hash(entry: &str, seed: u64) -> u64 {
    xxh3_64_with_seed(entry.as_bytes(), seed)
}

impl Default for TextSet {
    fn default() -> Self {
        let seed = RandomState::new().hash_one(0);
        Self { text: String::new(), index: HashTable::new(), seed }
    }
}

/// The same entries, in any order.
impl PartialEq for TextSet {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|entry| other.contains(entry))
    }
}

impl std::fmt::Debug for TextSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} texts", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(
            entries in prop::collection::vec("[a-c]{0,4}", 0..60),
            others in prop::collection::vec("[a-d]{0,4}", 0..60),
        ) {
            let mut set = TextSet::default();
            for entry in &entries {
                prop_assert!(set.insert(entry));
            }
            set.shrink();
            let wanted: HashSet<_> = entries.iter().collect();
            prop_assert_eq!(set.len(), wanted.len());
            for text in entries.iter().chain(&others) {
                prop_assert_eq!(set.contains(text), wanted.contains(text));
            }
        }
    }

    /// At a size where the index has just grown, which is the worst case.
    #[test]
    fn memory_of_an_entry() {
        let count = (1 << 16) * 7 / 8 + 1;
        let mut set = TextSet::default();
        assert!((0..count).all(|n| set.insert(&format!("dev-{n}"))));
        set.shrink();
        let text: usize = set.iter().map(str::len).sum();
        assert!(set.heap_bytes() - text <= 24 * count, "{} bytes", set.heap_bytes() - text);
    }

    #[test]
    fn sets_with_the_same_entries_are_equal() {
        let set = |entries: &[&str]| {
            let mut set = TextSet::default();
            assert!(entries.iter().all(|entry| set.insert(entry)));
            set
        };
        assert_eq!(set(&["a", "b", "a"]), set(&["b", "a"]));
        assert_ne!(set(&["a", "b"]), set(&["a", "c"]));
        assert_ne!(set(&["a"]), set(&["a", "b"]));
    }
}
