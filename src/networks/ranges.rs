//! Disjoint ranges of numbers, found by binary search.

use std::sync::Arc;

/// Numbers that are addresses.
pub(super) trait AddressBits: Copy + Ord {
    /// The number after this one; `None` after the last.
    fn next(self) -> Option<Self>;
}

impl AddressBits for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl AddressBits for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// Ranges in ascending order, which neither overlap nor touch.
///
/// Firsts and lasts are apart, so that a search reads half the memory: the firsts of 100,000 IPv4
/// networks are 400 kB, which fits the second-level cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranges<T> {
    firsts: Arc<[T]>,
    lasts: Arc<[T]>,
}

impl<T: AddressBits> Ranges<T> {
    /// Of ranges in any order, each with its first and its last number.
    pub(super) fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|later, merged| {
            let joins = merged.1.next().is_none_or(|next| later.0 <= next);
            if joins {
                merged.1 = merged.1.max(later.1);
            }
            joins
        });
        Self {
            firsts: ranges.iter().map(|range| range.0).collect(),
            lasts: ranges.iter().map(|range| range.1).collect(),
        }
    }

    /// Whether a range has this number.
    pub(super) fn contains(&self, number: T) -> bool {
        let after = self.firsts.partition_point(|first| *first <= number);
        let last = after.checked_sub(1).and_then(|index| self.lasts.get(index));
        last.is_some_and(|last| number <= *last)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.firsts.is_empty()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.firsts) + size_of_val(&*self.lasts)
    }
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self { firsts: Arc::default(), lasts: Arc::default() }
    }
}
