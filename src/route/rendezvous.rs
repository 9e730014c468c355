//! Weighted rendezvous hashing (Thaler and Ravishankar 1996; weights after Schindelhauer and
//! Schomaker 2005): every broker scores every key, and the highest score wins.
//!
//! The formula is a public contract, so that any script can tell where a client goes. For key `k`
//! and broker name `n` of weight `w`:
//!
//! ```text
//! h     = xxh3_64(k, seed = xxh3_64(n, seed = 0))
//! u     = ((h >> 11) + 0.5) / 2^53
//! score = -w / ln(u)
//! ```
//!
//! in IEEE 754 double precision; a `u` that rounds to 1 scores infinity, and of equal scores the
//! one of the name that sorts first, byte by byte, wins.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Member;

#[derive(Clone, Debug)]
pub(super) struct Rendezvous {
    /// By name, so that the first of equal scores is the one that wins.
    candidates: Arc<[Candidate]>,
}

#[derive(Debug)]
struct Candidate {
    seed: u64,
    weight: f64,
    index: usize,
}

impl Rendezvous {
    pub(super) fn new(members: &[Member<'_>]) -> Self {
        let mut members = members.to_vec();
        members.sort_unstable_by_key(|member| member.name);
        let candidate = |member: &Member<'_>| Candidate {
            seed: xxh3_64(member.name.as_bytes()),
            weight: f64::from(member.weight.get()),
            index: member.index,
        };
        Self { candidates: members.iter().map(candidate).collect() }
    }

    pub(super) fn pick(
        &self,
        key: &[u8],
        sessions: &dyn Fn(usize) -> Option<u32>,
    ) -> Option<usize> {
        let (mut best, mut best_score) = (None, 0.0);
        for candidate in &*self.candidates {
            let u = unit_interval(xxh3_64_with_seed(key, candidate.seed));
            if candidate.weight * ROUNDING < best_score * (1.0 - u) {
                continue;
            }
            let score = candidate.weight / u.ln().abs();
            if score > best_score && sessions(candidate.index).is_some() {
                (best, best_score) = (Some(candidate.index), score);
            }
        }
        best
    }
}

/// Saves nearly all logarithms: `-ln(u) >= 1 - u`, so `w / (1 - u)` bounds the score from above,
/// and a candidate whose bound is below the best score cannot win. This factor widens the bound
/// far beyond the rounding of either side (a few times 2^-52), so no winner of the formula is
/// passed over.
const ROUNDING: f64 = 1.0 + 1e-9;

/// The hash's upper 53 bits, all that a double holds, as a number in (0, 1].
fn unit_interval(hash: u64) -> f64 {
    const TWO_POW_53: f64 = (1_u64 << 53) as f64;
    ((hash >> 11) as f64 + 0.5) / TWO_POW_53
}
