//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
//! NSDI 2016, section 3.4): with a table of slots, each filled with a broker, a pick takes one hash
//! and one look-up, however many brokers there are.
//!
//! The cost comes when the pool changes: the table is populated again, and a few more keys move
//! than necessary. A broker that is merely ineligible moves only its own keys.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::member::TierMember;

/// The paper's two table sizes. Both are prime, so that every step through the table visits every
/// slot. By the paper's rule "larger than 100 x N" (shares then differ by at most 1 %) the first
/// serves up to 655 brokers, the second 6,553. There are only two, because a change of size moves
/// nearly all keys, which should happen to a growing pool at most once.
const SMALL_TABLE_SLOTS: usize = 65_537;
const LARGE_TABLE_SLOTS: usize = 655_373;

#[derive(Clone, Debug)]
pub(super) struct Maglev {
    /// Broker indices by slot; empty without brokers.
    table: Arc<[u32]>,
    /// Indices of all brokers of the table.
    members: Arc<[usize]>,
}

impl Maglev {
    pub(super) fn new(members: &[TierMember<'_>]) -> Self {
        let size = if members.len() * 100 < SMALL_TABLE_SLOTS {
            SMALL_TABLE_SLOTS
        } else {
            LARGE_TABLE_SLOTS
        };
        Self {
            table: populate(members, size).into(),
            members: members.iter().map(|member| member.index).collect(),
        }
    }

    /// If the slot's own broker is not eligible, the search continues through the table by a step
    /// that depends on the key, so that a broker's keys spread over all the others.
    pub(super) fn pick(
        &self,
        key: &[u8],
        sessions: &dyn Fn(usize) -> Option<u32>,
    ) -> Option<usize> {
        let eligible = |&index: &usize| sessions(index).is_some();
        let size = self.table.len() as u64;
        let hash = xxh3_64(key);
        let slot = hash.checked_rem(size)?;
        let broker_at = |slot: u64| self.table.get(slot as usize).map(|&index| index as usize);

        let owner = broker_at(slot)?;
        if eligible(&owner) {
            return Some(owner);
        }
        // Checked first, so that a pool whose brokers are all down costs one check per broker, not
        // per slot. It also finds a broker without a slot, in a pool larger than the table.
        let any = self.members.iter().copied().find(eligible)?;
        let step = 1 + hash / size % (size - 1);
        (1..size).filter_map(|n| broker_at((slot + n * step) % size)).find(eligible).or(Some(any))
    }
}

/// Fills the slots: in every round each broker takes the next free slot in its own permutation of
/// the table; a lighter one takes part only in its share of the rounds.
fn populate(members: &[TierMember<'_>], size: usize) -> Vec<u32> {
    const FREE: u32 = u32::MAX;

    let mut permutations: Vec<Permutation<'_>> =
        members.iter().map(|member| Permutation::new(member, size)).collect();
    // By name, so that the order in the configuration does not matter.
    permutations.sort_unstable_by_key(|permutation| permutation.name);
    let Some(heaviest) = permutations.iter().map(|permutation| permutation.weight).max() else {
        return Vec::new();
    };

    let mut table = vec![FREE; size];
    let mut free = size;
    for round in 0_u64.. {
        for permutation in &mut permutations {
            if round * permutation.weight < permutation.due {
                continue;
            }
            permutation.due += heaviest;
            while table[permutation.slot] != FREE {
                permutation.slot = (permutation.slot + permutation.skip) % size;
            }
            table[permutation.slot] = permutation.index;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
    table
}

/// A broker's permutation of the table (section 3.4 of the paper), walked lazily.
struct Permutation<'a> {
    name: &'a str,
    index: u32,
    weight: u64,
    /// The broker takes its next slot in the first round with `round * weight >= due`. It starts at
    /// 0, so that every broker gets a slot, however light.
    due: u64,
    slot: usize,
    skip: usize,
}

impl<'a> Permutation<'a> {
    fn new(member: &TierMember<'a>, size: usize) -> Self {
        let name = member.name.as_bytes();
        let (size, offset, skip) = (size as u64, xxh3_64(name), xxh3_64_with_seed(name, 1));
        Self {
            name: member.name,
            index: member.index as u32,
            weight: u64::from(member.weight.get()),
            due: 0,
            slot: (offset % size) as usize,
            skip: (skip % (size - 1) + 1) as usize,
        }
    }
}
